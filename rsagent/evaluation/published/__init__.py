"""Public data sets as their authors publish them: what is known of each, readers of the original layouts, checks.

`catalogue` is the way in (`CATALOGUE`, `open_dataset`, `check`). One module reads one family of layouts:

    karpathy        UCM-Captions, Sydney-Captions, RSICD      dataset*.json and a folder of images
    nwpu_captions   NWPU-Captions                             dataset_nwpu.json and one folder a class
    rsgpt           RSICap, RSIEval                           captions.json or annotations.json, images/
    rsvqa           RSVQA-LR, RSVQA-HR                        *_split_*_{questions,answers}.json, numbered images
    rsivqa          RSIVQA                                    lines "image:question?answer", images of other sets
    vrsbench        VRSBench captions and questions           VRSBench_train.json, VRSBench_EVAL_*.json
    class_folders   scene classes                             one folder a class

Texts stay as published, so that scores can be compared.
"""
