"""What PyTorch has and gradloom deliberately has not: asked for, it says so and what to do instead.

The error is an AttributeError, so ``hasattr`` and ``getattr`` with a default behave as for any other missing name.
"""

from __future__ import annotations

from gradloom.errors import GradloomError

__all__ = ["AbsentError", "missing", "tensor_attribute"]


class AbsentError(GradloomError, AttributeError):
    """A name that is deliberately not there."""

    default_code = "absent"


_HINTS: tuple[tuple[str, str], ...] = (
    # beginnings of names (whole names, where they end in "$"), and what to do instead
    (
        "jit$ Script CompilationUnit$ import_ir_module parse_ir$ parse_schema$ Lite merge_type_from",
        "there is no TorchScript: programs are compiled as they run; gradloom.compile(fn) keeps a function's program",
    ),
    (
        "fx$ Graph$ Node$",
        "there is no symbolic tracer: gradloom.explain(fn, *args) shows the program that a function becomes",
    ),
    (
        "sparse sspaddmm saddmm$ spmm$ dsmm$ hsmm$ hspmm$ smm$ resize_as_sparse_ ccol_indices crow_indices "
        "col_indices row_indices indices_copy$ values_copy$",
        "sparse tensors are not offered: use dense ones, gradloom.masked, or index_select and scatter_add",
    ),
    (
        "quant q_ qint quint qscheme$ ao$ per_channel_ per_tensor_ dequantize$ fake_quantize_ fused_moving_avg_obs "
        "fbgemm_ int_repr$ choose_qparams empty_quantized$",
        "there are no quantized dtypes: use bfloat16, or int8 tensors with a scale of their own",
    ),
    (
        "Stream Event$ mtia$ hpu$ vulkan is_vulkan",
        "there is one device, the CPU, and no streams: work is done when a value is looked at",
    ),
    (
        "distributed$ RRef futures$ fork$ wait$ Future Await",
        "gradloom runs in one process: use larger batches, or add up the gradients of several before a step",
    ),
    (
        "GradientEdge$ get_gradient_edge$ set_warn_on_accumulate_grad_stream_mismatch$",
        "gradients are asked for by tensors: keep the tensor, and give it to autograd.grad",
    ),
    (
        "hub$ package$ PyTorchFile",
        "code is not loaded from files or the network: build the model in Python, and load its weights",
    ),
    (
        "prepare_multiprocessing",
        "tensors go to other processes as copies: see gradloom.multiprocessing",
    ),
    (
        "cudnn_ miopen_ mkldnn_ native_",
        "functions of one backend are not offered: use the public function of gradloom.nn.functional",
    ),
    ("Sym sym_", "there are no symbolic sizes: shapes are numbers at every call, and programs are found by shape"),
    (
        "Storage TypedStorage$ UntypedStorage$ FloatStorage$ DoubleStorage$ HalfStorage$ LongStorage$ IntStorage$ "
        "ShortStorage$ CharStorage$ ByteStorage$ BoolStorage$ BFloat16Storage$ ComplexFloatStorage$ "
        "ComplexDoubleStorage$ QInt QUInt",
        "memory has no object of its own: t.numpy() and from_numpy share it",
    ),
    ("nested$ jagged$", "nested tensors are not offered: pad to one length (nn.utils.rnn.pad_sequence), and mask"),
    (
        "library$ ops$ classes$ overrides$ DisableTorchFunction DispatchKey ExcludeDispatchKey",
        "there is no dispatcher to register with: write a function of tensors, or an autograd.Function",
    ),
    (
        "complex32$ chalf$ bits int1$ int2$ int3$ int4$ int5$ int6$ int7$ uint1$ uint2$ uint3$ uint4$ uint5$ uint6$ "
        "uint7$ float4_ float8_e8m0fnu$",
        "this dtype is not offered: use complex64, uint8 or float8_e4m3fn",
    ),
    ("symeig$ lobpcg$", "use gradloom.linalg.eigh"),
    ("solve$ eig$ lstsq$ matrix_rank$", "PyTorch has removed it too: use the function of that name in gradloom.linalg"),
    ("cpp$", "there is no C++ interface: kernels are compiled from the program"),
    (
        "AVG$ SUM$ AcceleratorError$ AggregationType$ AliasDb$ AnyType$ Argument$ ArgumentSpec$ Benchmark Block$ "
        "BoolType$ BufferDict$ CallStack$ Capsule$ ClassType$ Code$ CompleteArgumentSpec$ ComplexType$ "
        "ConcreteModuleType "
        "DeepCopyMemoTable$ DeserializationStorageContext$ DeviceObjType$ DictType$ EnumType$ ErrorReport$ "
        "ExecutionPlan$ FatalError$ FileCheck$ FloatType$ FunctionSchema$ Gradient$ GraphExecutorState$ "
        "IODescriptor$ InferredType$ IntType$ InterfaceType$ JITException$ ListType$ LockingLogger$ LoggerBase$ "
        "ModuleDict$ NoneType$ NoopLogger$ NumberType$ OperatorInfo$ OptionalType$ PRIVATE_OPS$ ParameterDict$ "
        "PyObjectType$ SerializationStorageContext$ StaticModule$ StringType$ Tag$ TensorType$ ThroughputBenchmark$ "
        "TracingState$ TupleType$ Type$ USE_ UnionType$ Use$ Value$ init_num_threads$ parse_type_comment$ "
        "unify_type_list$ read_vitals$ set_vital$ vitals_enabled$ get_file_path$ profiler_allow thread_safe_generator$ "
        "classproperty$ legacy_contiguous_format$ monitor$ types$ return_types$ serialization$ storage$ functional$ "
        "torch_version$ windows$ quasirandom$ export$ get_device_module$ hash_tensor$ segment_reduce$ "
        "slice_inverse$ convolution$ embedding_renorm_$ norm_except_dim$ batch_norm_ grid_sampler_ hspmm "
        "const_data_ptr$ module_load$ grad_dtype$ index$ to_padded_tensor$ max_pool1d_with_indices$ is_inference$",
        "a part of PyTorch's inside: look for the public function, or the layer, that is made of it",
    ),
    ("gru$ gru_cell$ lstm$ lstm_cell$ rnn_", "use the layers gradloom.nn.RNN, LSTM, GRU and their cells"),
    (
        "is_autocast_ipu is_autocast_xla get_autocast_ipu get_autocast_xla set_autocast_ipu set_autocast_xla "
        "to_mkldnn$ ipu$ xpu$ record_stream$ storage_type$ resize_as_sparse",
        "there is one device, the CPU, and tensors have one layout",
    ),
    (
        "to_sparse coalesce$ is_coalesced$ indices$ values$ dense_dim$ smm$",
        "sparse tensors are not offered: use dense ones, gradloom.masked, or index_select and scatter_add",
    ),
    ("int_repr$ qscheme$", "there are no quantized dtypes: use bfloat16, or int8 tensors with a scale of their own"),
    ("bit$ float8_e4m3fnuz$ float8_e5m2fnuz$", "this dtype is not offered: use uint8, float8_e4m3fn or float8_e5m2"),
    ("volatile$", "use no_grad() where no gradients are wanted"),
    ("reinforce$", "PyTorch has removed it too: gradloom.distributions has log_prob"),
    (
        "SavedTensor$ NestedIOFunction$ enforce_grad_layout_policy$ "
        "is_view_replay_enabled$ is_multithreading_enabled$ set_multithreading_enabled$",
        "what a gradient needs is computed again or kept by the compiler: utils.checkpoint says what to compute again",
    ),
    (
        "DeviceType$ ProfilerConfig$ ProfilerEvent$ ProfilerState$ kineto_available$ profiler_legacy$ profiler_util$ "
        "is_tensor_like$ has_torch_function$ handle_torch_function$ debug_unwrap$ common_notes$",
        "a part of PyTorch's inside: gradloom.profiler has times, gradloom.explain the program",
    ),
)


def missing(where: str, name: str) -> AttributeError:
    """The error for a name that ``where`` lacks: one with a hint where it is absent on purpose."""
    kind = "a tensor" if where == "Tensor" else f"module {where!r}"
    for starts, hint in _HINTS:
        for start in starts.split():
            if name == start[:-1] if start.endswith("$") else name.startswith(start):
                return AbsentError(f"{kind} deliberately has no {name!r}", hint=hint)
    return AttributeError(f"{kind} has no attribute {name!r}")


def tensor_attribute(self: object, name: str) -> object:
    """What tensors answer for a name that they have not."""
    if name.startswith("_"):
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
    raise missing("Tensor", name)
