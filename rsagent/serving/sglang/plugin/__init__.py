"""The folder that SGLang's server gets on its path; it holds one package, `rsagent_sglang`, and nothing else."""
