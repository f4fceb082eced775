"""The trainer of a stage: what it logs and keeps, and what it does when the loss, the disk or the memory fails."""

from __future__ import annotations

import copy
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rsagent.errors import EngineError
from rsagent.training.language import LanguageTask, counted
from rsagent.training.processes import sharded
from rsagent.training.recipe import StageRecipe

METRICS = "metrics.jsonl"
_log = logging.getLogger(__name__)


def stage_arguments(settings: StageRecipe, folder: Path, *, seed: int, save_steps: int) -> TrainingArguments:
    """What `transformers.Trainer` is told of a stage: the paper's AdamW and cosine, shared among the devices there are.

    Raises:
        UserError: the batch cannot be shared among the devices.
    """
    devices = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and accelerate say it
    steps = settings.samples // settings.batch
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.images_a_pass(devices),
        gradient_accumulation_steps=settings.accumulate,
        max_steps=steps,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, int(steps * settings.warmup)),
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=max(1, min(20, steps // 10)),
        save_steps=save_steps,
        save_total_limit=1,
        save_only_model=False,
        report_to=[],
        remove_unused_columns=False,
        dataloader_num_workers=1,
        dataloader_prefetch_factor=4,
        disable_tqdm=True,
        seed=seed,
        ddp_find_unused_parameters=True if devices > 1 else None,  # a batch of stage II may leave an expert out
    )


class StageTrainer(Trainer):
    """Trainer whose log also shows the parts of the loss, which stores tied weights once and frozen ones never.

    Raises (from `train`):
        EngineError: the loss or a weight is no number, the disk is full, or memory is short. The last whole checkpoint stays,
            and the message names it and the knob to turn.
    """

    parts: dict[str, Any]
    absent: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)  # it prints on stdout, where results belong
        self.add_callback(_Metrics())
        self.model_accepts_loss_kwargs = False  # what it should be told is counted here
        self.parts, self.absent = {}, []
        self.add_callback(_Absent(self))
        self.loss_is_scaled_for_ga = isinstance(self.model, LanguageTask)  # else the mean of the passes' losses

    @property
    def stage(self) -> str:
        """The stage's name, which its keys in the recipe begin with."""
        return Path(str(self.args.output_dir)).name

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One pass; what memory cannot hold is said with the knobs that make it smaller."""
        try:
            return super().training_step(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if "out of memory" not in str(error) and "allocate memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            raise EngineError(
                f"out of memory in {self.stage} at step {self.state.global_step}: {self.stage}.accumulate=N divides a batch, "
                "stage1.checkpointing=true saves stage I's activations; --resume goes on"
            ) from error

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The passes of a step, and what each part of their loss is averaged over, on all devices together."""
        passes, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.parts = {}
        if not passes or not self.loss_is_scaled_for_ga:
            return passes, None
        if sharded():
            self._note_absent(passes, device)
        counts = torch.stack([counted(batch) for batch in passes]).sum(0)
        return passes, self.accelerator.reduce(counts.to(device), "sum")

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss of one pass, which has to be a number: its share of the step's loss, or all of a critical step's."""
        counts = kwargs.get("num_items_in_batch")
        shared = {} if counts is None else {"counts": counts}
        devices = 1 if counts is None else self.accelerator.num_processes  # whose gradients are averaged, not summed
        output = {name: value * devices for name, value in model(**inputs, **shared).items()}
        for name in output.keys() - {"loss"}:
            self.parts[name] = self.parts.get(name, 0.0) + output[name] if shared else output[name]
        if not bool(torch.isfinite(output["loss"])):
            raise self._stopped("the loss is no number")
        return output["loss"]

    def _note_absent(self, passes: list[Any], device: torch.device) -> None:
        """Which adapters no row of this step trains, on any device: rows that weigh nothing give them a gradient of zeros."""
        adapters = cast(LanguageTask, self.accelerator.unwrap_model(self.model)).adapters
        trained = torch.stack(
            [torch.bincount(one["adapter"][one["weight"] > 0].cpu(), minlength=len(adapters)) for one in passes]
        ).sum(0)
        rows = self.accelerator.reduce(trained.to(device), "sum").tolist()
        self.absent = [f".{name}." for name, count in zip(adapters, rows, strict=True) if not count]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The parts of the loss beside what Trainer logs."""
        extra = {name: round(float(value), 4) for name, value in self.parts.items()}
        super().log({**logs, **extra}, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        model = cast(nn.Module, self.model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
                raise self._stopped(f"{name} is no number any more")  # such a checkpoint would replace the last good one
        state = model.state_dict() if state_dict is None else state_dict
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        super()._save(output_dir, {name: tensor.clone() for name, tensor in state.items() if name not in frozen})

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Frozen tensors are never kept, so they are missing in every checkpoint; anything else is another run's."""
        model = cast(nn.Module, self.model)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        if odd := sorted({*load_result.unexpected_keys, *(trained & {*load_result.missing_keys})}):
            raise EngineError(f"{self._kept()}, and it is of another network: see {odd[0]}; give another --out")

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, SafetensorError, RuntimeError) as error:  # the libraries say a full disk in three ways
            if isinstance(error, RuntimeError) and not _is_disk(error):
                raise
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise EngineError(
                f"cannot save {self.stage} at step {self.state.global_step} ({reason}): "
                f"make room, then --resume; {self._kept()}"
            ) from error

    def _stopped(self, what: str) -> EngineError:
        return EngineError(
            f"{what} in {self.stage} at step {self.state.global_step}: lower {self.stage}.lr, then --resume; {self._kept()}"
        )

    def _kept(self) -> str:
        """Where the run would go on; a checkpoint is whole once the Trainer's own state is in it."""
        whole = [file.parent for file in Path(str(self.args.output_dir)).glob("checkpoint-*/trainer_state.json")]
        if not whole:
            return "no checkpoint of this stage was kept yet"
        return f"the last good checkpoint is {max(whole, key=lambda folder: folder.stat().st_mtime)}"


def train_task(
    task: nn.Module, arguments: TrainingArguments, collator: Any, samples: Dataset[Any], checkpoint: str | None
) -> None:
    """Train `task`, from `checkpoint` on where there is one.

    Under FSDP (version 2) a copy of it is trained, since what was sharded once stays in shards, and gives its weights back.

    Raises:
        EngineError: as `StageTrainer`.
    """
    model = copy.deepcopy(task) if sharded() else task
    trainer = StageTrainer(model=model, args=arguments, data_collator=collator, train_dataset=samples)
    trainer.train(resume_from_checkpoint=checkpoint)
    if sharded():
        from torch.distributed.tensor import DTensor

        state = cast("dict[str, Tensor]", model.state_dict())
        whole = {name: found.full_tensor() if isinstance(found, DTensor) else found for name, found in state.items()}
        task.load_state_dict(whole)


class _Absent(TrainerCallback):
    """What no row has trained stays as it is, as it does where the network is whole: AdamW would move it by its momentum."""

    def __init__(self, trainer: StageTrainer) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for name, parameter in cast(nn.Module, self._trainer.model).named_parameters():
            if any(adapter in name for adapter in self._trainer.absent):
                parameter.grad = None


class _Metrics(TrainerCallback):
    """A line of progress for whoever waits, and the same in `metrics.jsonl` in the stage's folder, once a step."""

    _began = 0.0
    _first = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._began, self._first = time.monotonic(), state.global_step
        file = Path(str(args.output_dir)) / METRICS
        if file.exists() and state.is_world_process_zero:  # what came after the checkpoint is done again
            lines = [line for line in file.read_text("utf-8").splitlines() if _step(line) <= state.global_step]
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        folder = Path(str(args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
        done = state.global_step - self._first
        left = (time.monotonic() - self._began) / max(done, 1) * (state.max_steps - state.global_step)
        said = ", ".join(f"{name} {value}" for name, value in logs.items() if name not in ("epoch", "learning_rate"))
        _log.info("%s: step %d of %d, %s; %.0f min to go", folder.name, state.global_step, state.max_steps, said, left / 60)


def _step(line: str) -> float:
    """The step of a line of metrics; a kill may have cut the last one short, and it counts as after everything."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _is_disk(error: RuntimeError) -> bool:
    text = str(error).lower()
    return "no space left" in text or "file write failed" in text or "inline_container" in text
