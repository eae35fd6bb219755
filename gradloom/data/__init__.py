"""Data sets, samplers and the loader."""

from gradloom.data.collate import default_collate, default_convert
from gradloom.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from gradloom.data.fetch import WorkerInfo, get_worker_info
from gradloom.data.loader import DataLoader
from gradloom.data.mixing import CutMix, MixUp, mixed
from gradloom.data.pipeline import AUTOTUNE, INFINITE_CARDINALITY, UNKNOWN_CARDINALITY, Pipeline, as_pipeline
from gradloom.data.report import Report, examine
from gradloom.data.sampler import (
    BalancedSampler,
    BatchSampler,
    BucketBatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from gradloom.data.shards import ShardDataset, write_shards
from gradloom.data.tables import MemoryMapDataset, TableDataset, pad_collate, read_table

__all__ = [
    "AUTOTUNE",
    "INFINITE_CARDINALITY",
    "UNKNOWN_CARDINALITY",
    "Pipeline",
    "as_pipeline",
    "BalancedSampler",
    "BatchSampler",
    "BucketBatchSampler",
    "CutMix",
    "MixUp",
    "mixed",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
    "MemoryMapDataset",
    "Report",
    "ShardDataset",
    "TableDataset",
    "examine",
    "pad_collate",
    "read_table",
    "write_shards",
]
