"""A recipe as `TrainingArguments`, and a Trainer that writes a run folder.

It begins with the weights that the engine draws from `train.seed`, takes the engine's samples in
its order, and its rates: without dropout the two differ by rounding alone.
"""

import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401 - the Trainer asks for it without its name
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from megatron_music.config import Recipe
from megatron_music.costs.flops import padded_vocab_size, recipe_shape
from megatron_music.errors import TrainingError, WriteError
from megatron_music.export.parity import in_one_process
from megatron_music.export.weights import convert_weights, gpt2_config
from megatron_music.files import write_cure
from megatron_music.train import distributed
from megatron_music.train.backends import resolve_auto_precision
from megatron_music.train.checkpoint import readable
from megatron_music.train.dataloader import DataLoader, Microbatch
from megatron_music.train.distributed import ParallelContext
from megatron_music.train.hyperparameters import ADAM_BETAS, ADAM_EPSILON, learning_rate
from megatron_music.train.loggers import Logger, open_loggers
from megatron_music.train.metrics import LossGuard, MetricsLogger, Say, StepReport, Stopwatch
from megatron_music.train.model import build_model
from megatron_music.train.muon import use_muon
from megatron_music.train.packing import Row
from megatron_music.train.request import TrainingRequest
from megatron_music.train.run_dir import commit_checkpoint, logged_losses
from megatron_music.train.signals import StoppedError, StopRequest
from megatron_music.train.trainer import checkpoint_meta, describe, due_after, open_run

_IGNORED = -100
"""Hugging Face's label of a token that does not count in the loss."""


class PackedGPT2(GPT2LMHeadModel):  # type: ignore[misc]
    """GPT-2 on rows of packed documents, each with its structural inputs."""

    def forward(
        self,
        input_ids: torch.Tensor,
        rows: torch.Tensor,
        row_starts: torch.Tensor,
        document: torch.Tensor,
        labels: torch.Tensor | None = None,  # by this name the Trainer knows that there is a loss
        **arguments: Any,
    ) -> Any:
        """Return what GPT-2 does for `input_ids` [b, s]; `document` [b, s] numbers the documents.

        Token i of the batch adds up `rows[row_starts[i] : row_starts[i + 1]]` of the position
        table. The first of them goes as its position, for GPT-2 always adds that.
        """
        first = torch.zeros_like(rows, dtype=torch.bool)
        first[row_starts] = True
        # Where the lists begin without their first rows: each earlier token has lost one.
        later = row_starts - torch.arange(len(row_starts), device=row_starts.device)
        added = F.embedding_bag(rows[~first], self.transformer.wpe.weight, later, mode="sum")
        embedded = self.transformer.wte(input_ids)
        past = torch.ones(document.shape[1], document.shape[1], device=document.device).tril()
        alike = document[:, :, None] == document[:, None, :]
        return super().forward(
            inputs_embeds=embedded + added.view_as(embedded),
            position_ids=rows[row_starts].view_as(input_ids),
            attention_mask=(alike & past.bool())[:, None],
            labels=labels,
            **arguments,
        )


class Rows(Dataset[Microbatch]):
    """The loader's samples, a row each."""

    def __init__(self, loader: DataLoader, row_of: Callable[[int], Row], count: int) -> None:
        self._loader, self._row_of, self._count = loader, row_of, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, sample: int) -> Microbatch:
        return self._loader.assemble([self._row_of(sample)])

    @property
    def label_tokens(self) -> int:
        """The number of labels in all rows."""
        return sum(self._row_of(sample).label_tokens for sample in range(self._count))


class RecipeTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that takes the samples in the loader's order and the recipe's rates."""

    def __init__(self, recipe: Recipe, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._recipe = recipe

    def prediction_step(self, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        """Return a batch's loss so that the mean over batches is the mean over labels."""
        loss, *_ = super().prediction_step(model, inputs, *more, **named)
        batches = len(self.eval_dataset) / self._recipe.train.micro_batch_size
        share = (inputs["labels"] != _IGNORED).sum() * batches / self.eval_dataset.label_tokens
        return torch.nan_to_num(loss) * share, None, None  # nan: a batch without labels

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def create_optimizer(self, *arguments: Any) -> torch.optim.Optimizer:
        """Make the recipe's optimizer: Adam, with Muon for the matrices where it says so."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*arguments)
        train, shape = self._recipe.train, self._recipe.model
        if train.optimizer == "muon":
            head_width = shape.hidden_size // shape.num_attention_heads
            use_muon(self.model, optimizer, head_width, train.muon_lr / train.lr)
        return optimizer

    def create_scheduler(self, *_: Any, **__: Any) -> LambdaLR:
        """Follow the recipe's schedule, whose iterations are counted from 1."""
        train = self._recipe.train
        self.lr_scheduler = LambdaLR(
            self.optimizer, lambda done: learning_rate(train, done + 1) / train.lr
        )
        return self.lr_scheduler

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *more: Any) -> None:
        with readable(Path(resume_from_checkpoint)):
            TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            super()._load_from_checkpoint(resume_from_checkpoint, *more)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with readable(Path(checkpoint)):
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME):  # the Trainer ignores missing ones
                (Path(checkpoint) / name).stat()
            super()._load_optimizer_and_scheduler(checkpoint)

    def _save_checkpoint(self, *arguments: Any) -> None:
        try:
            super()._save_checkpoint(*arguments)
        except (OSError, RuntimeError) as fault:  # torch's own writer raises the latter
            cure = write_cure(fault) if isinstance(fault, OSError) else "choose another place"
            raise WriteError(
                f"cannot write a checkpoint in {self.args.output_dir}: {fault}; "
                f"{cure} and start again"
            ) from fault


class RunDirCallback(TrainerCallback):  # type: ignore[misc]
    """Decides when the Trainer logs, evaluates and saves; writes the run folder as the engine does.

    The Trainer's own checkpoints become `step_N` when they are whole.
    """

    def __init__(
        self,
        request: TrainingRequest,
        context: ParallelContext,
        metrics: MetricsLogger,
        stop: StopRequest,
    ) -> None:
        self._request, self._context, self._metrics, self._stop = request, context, metrics, stop
        self._clock = Stopwatch()
        self._step_s = 0.0
        self._report: StepReport | None = None
        self._validation_loss: float | None = None
        self._guard = LossGuard(request.recipe.train.loss_spike_nats, logged_losses(request.run))
        self._stopped: StoppedError | None = None

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock: all is built, and the first evaluation is over."""
        self._clock.resume()

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, **__: Any
    ) -> None:
        """Set the actions due after an iteration, as in the engine."""
        self._clock.count()
        due = due_after(self._request.recipe, state.global_step)
        self._stopped = self._stop.agreed(self._context.total, state.global_step)
        stopping = self._stopped is not None
        control.should_evaluate = due.evaluates
        control.should_save = due.saves or stopping
        control.should_log = due.reports or stopping
        control.should_training_stop |= stopping

    def on_log(
        self,
        _: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **__: Any,
    ) -> None:
        """Record the mean loss since the last line; raises TrainingError for a loss spike."""
        if "loss" not in logs:
            return
        self._clock.pause()
        self._step_s = self._clock.lap()
        fault = self._guard.fault(logs["loss"])
        if fault:
            raise TrainingError(
                f"{fault} at iteration {state.global_step}; the same command resumes from the last "
                "checkpoint: give it a lower train.lr or clip_grad, or another train.seed"
            )
        norm = logs.get("grad_norm", math.inf)
        rate = learning_rate(self._request.recipe.train, state.global_step)
        finite = norm if math.isfinite(norm) else None
        self._report = StepReport(state.global_step, logs["loss"], rate, finite, {})
        if not (control.should_evaluate or control.should_save):
            self._tell()

    def on_evaluate(
        self,
        _: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **__: Any,
    ) -> None:
        """Record the validation loss, nats a token."""
        if state.global_step > 0:
            self._validation_loss = metrics["eval_loss"]
            if not control.should_save:
                self._tell()
        # Step 0 is the evaluation before any training.
        elif self._context.is_first:
            self._metrics.report_start(metrics["eval_loss"])

    def on_save(
        self, arguments: TrainingArguments, state: TrainerState, _: TrainerControl, **__: Any
    ) -> None:
        """Rename a complete checkpoint to `step_N`, and move `latest`."""
        self._context.wait()
        if self._context.is_first:
            saved = Path(arguments.output_dir) / f"checkpoint-{state.global_step}"
            meta = checkpoint_meta(
                self._request, self._context.world_size, state.global_step, self._validation_loss
            )
            with commit_checkpoint(self._request.run, meta) as folder:
                # The Trainer's folder takes the place of the one that `commit_checkpoint` made.
                folder.rmdir()
                saved.rename(folder)
        self._context.wait()
        self._tell()

    def conclude(self) -> None:
        """Raise StoppedError if a signal ended the run."""
        if self._stopped is not None:
            raise self._stopped

    def _tell(self) -> None:
        """Write the line of an iteration whose work is all done."""
        if self._report is not None and self._context.is_first:
            self._metrics.report(self._report, self._step_s, self._validation_loss)
        self._report, self._validation_loss = None, None
        self._clock.resume()


def run(request: TrainingRequest, say: Say) -> None:
    """Train from the last checkpoint of the run folder to `train.train_iters`, on this rank.

    Raises StoppedError after a signal (all is saved) and TrainingError when the loss diverges.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    recipe = resolve_auto_precision(
        request.recipe, distributed.describe_device(distributed.this_device())
    )
    request = replace(request, recipe=recipe)
    loader, model = _begin(request)
    arguments = _arguments(request, loader.context)
    # The Trainer joins the ranks when it is first asked for the device: only then can a group of
    # gloo be made, by which ranks agree to stop. It would also use all GPUs from one process.
    arguments.device  # noqa: B018
    arguments._n_gpu = min(1, arguments.n_gpu)  # noqa: SLF001
    context, device = loader.context, distributed.this_device()
    control = dist.new_group(backend="gloo") if context.world_size > 1 else context.control
    kind = distributed.describe_device(device)
    context = replace(context, device=device, kind=kind, control=control)
    if context.is_first:
        for cut_short in request.run.checkpoints.glob("checkpoint-*"):
            shutil.rmtree(cut_short)
        open_run(request, context, "torch scaled_dot_product_attention in Hugging Face's GPT-2")
        trainer = f"Hugging Face's Trainer, transformers {version('transformers')}"
        say(describe(request, context, trainer))
        say(loader.describe())
    shape = replace(
        recipe_shape(recipe, len(request.vocabulary)), attended_tokens=loader.attended_tokens
    )
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        opened: list[Logger] = []
        if context.is_first:
            opened = stack.enter_context(open_loggers(request.run, recipe, request.start_iteration))
        metrics = MetricsLogger(request.run, recipe, shape, context, say, opened)
        watch = RunDirCallback(request, context, metrics, stop)
        trainer = RecipeTrainer(
            recipe=recipe,
            model=model,
            args=arguments,
            data_collator=_collate,
            train_dataset=Rows(loader, loader.training_row, len(loader.train)),
            eval_dataset=(
                None
                if loader.valid is None
                else Rows(loader, loader.validation_row, len(loader.valid))
            ),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if request.start is None else str(request.start))
        watch.conclude()


def _begin(request: TrainingRequest) -> tuple[DataLoader, PackedGPT2]:
    """Open the engine's samples, and draw the weights that it begins with.

    The vocabulary is padded as the engine's, whose loss counts what it pads with; the export drops
    it, there as here.
    """
    recipe, size = in_one_process(request.recipe), len(request.vocabulary)
    config = gpt2_config(recipe, request.vocabulary)
    config.vocab_size = padded_vocab_size(size)
    config.activation_function = "gelu_pytorch_tanh"  # gelu_new in one kernel
    model = PackedGPT2(config)
    with distributed.start(recipe, on_cpu=True) as context:
        loader = DataLoader(request, context)
        if request.start is None:
            drawn = build_model(recipe, request.vocabulary, context).state_dict()
            model.load_state_dict(convert_weights(drawn, recipe.model, config.vocab_size))
    return loader, model


def _arguments(request: TrainingRequest, context: ParallelContext) -> TrainingArguments:
    """Translate a recipe; `RunDirCallback` decides when to log, evaluate and save."""
    train, on_cpu = request.recipe.train, not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(request.run.checkpoints),
        max_steps=train.train_iters,
        per_device_train_batch_size=train.micro_batch_size,
        per_device_eval_batch_size=train.micro_batch_size,
        gradient_accumulation_steps=train.global_batch_size
        // (train.micro_batch_size * context.data_parallel_size),
        learning_rate=train.lr,
        weight_decay=train.weight_decay,
        adam_beta1=ADAM_BETAS[0],
        adam_beta2=ADAM_BETAS[1],
        adam_epsilon=ADAM_EPSILON,
        max_grad_norm=train.clip_grad,
        optim="adamw_torch_fused",
        bf16=train.precision == "bf16",
        fp16=train.precision == "fp16",
        gradient_checkpointing=train.recompute == "full",
        seed=train.seed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and context.world_size > 1 else None,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        eval_on_start=request.evaluates and request.start is None,
        prediction_loss_only=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )


def _collate(samples: list[Microbatch]) -> dict[str, torch.Tensor]:
    """Return a micro batch, [micro batch, s]; labels are the next tokens already."""
    labels = torch.cat([one.labels.masked_fill(one.loss_mask == 0, _IGNORED) for one in samples])
    before = np.cumsum([0, *(len(one.rows) for one in samples)]).tolist()
    starts = [one.row_starts + first for one, first in zip(samples, before, strict=False)]
    lengths = [one.spans.cu_seqlens_q.diff() for one in samples]
    numbers = [torch.repeat_interleave(torch.arange(len(of)), of) for of in lengths]
    return {
        "input_ids": torch.cat([one.tokens for one in samples]),
        "labels": labels,
        "shift_labels": labels,
        "rows": torch.cat([one.rows for one in samples]),
        "row_starts": torch.cat(starts),
        "document": torch.stack(numbers),
    }
