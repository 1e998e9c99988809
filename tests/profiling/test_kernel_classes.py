"""The classes of kernels, by names as real captures of Volta to Blackwell hold them."""

import pytest

from megatron_music.profiling.nsight.analyze import CLASSES, PATTERNS, classify

NAMES = {
    "gemm": [
        "volta_sgemm_128x64_nn",
        "volta_fp16_s884gemm_fp16_256x128_ldg8_f2f_tn",
        "volta_h884gemm_64x64_ldg8_nn",
        "turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_stages_32x1_nn",
        "ampere_bf16_s16816gemm_bf16_128x256_ldg8_f2f_stages_64x3_tn",
        "ampere_sgemm_32x32_sliced1x4_tn",
        "sm80_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x32_stage4_warpsize2x2x1",
        "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_256x128_32x3_tn_align8>",
        "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int>>>",
        "nvjet_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN",
        "nvjet_sm100_hsh_mma_256x192x64_4_32x192x64_cta2_h_bz_TNT",
        "void gemv2T_kernel_val<int, int, float, float, float, float, (int)128>",
        "void cublasLt::splitKreduce_kernel<(int)32, (int)16, int, float, __nv_bfloat16>",
        "triton_tem_fused_addmm_3",
    ],
    "attention": [
        "void flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<cutlass::bfloat16_t>",
        "void cutlass::device_kernel<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90>>",
        "fmha_cutlassF_f16_aligned_64x64_rf_sm70(PyTorchMemEffAttention::AttentionKernel)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_6_128x128x128_4x1x1",
        "void scaled_upper_triang_masked_softmax_warp_forward<__half, __half, float, (int)11>",
    ],
    "communication": [
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<(unsigned long)4096>)",
        "ncclKernel_AllGather_RING_LL_Sum_int8_t(ncclDevComm *, unsigned long, ncclWork *)",
        "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<(unsigned long)4096>)",
        "void userbuffers_fp16_sum_inplace_gpu_rr_rs<(int)8>(int, int, int)",
    ],
    "norm": [
        "void at::native::<unnamed>::vectorized_layer_norm_kernel<float, float, (bool)0>(int)",
        "void transformer_engine::normalization::rmsnorm_fwd_tuned_kernel<Kernel_traits>",
        "void layer_norm::ln_bwd_kernel<Kernel_traits>(layer_norm::BwdParams)",
        "void cuComputeGradInput<float, float, __nv_bfloat16>(const __nv_bfloat16 *)",
        "void at::native::<unnamed>::GammaBetaBackwardCUDAKernelTemplate<float, float>",
    ],
    "optimizer": [
        "void multi_tensor_apply_kernel<TensorListMetadata<4>, AdamFunctorMaster<__half>>",
        "void at::native::<unnamed>::multi_tensor_apply_kernel<FusedOptimizerTensorListMetadata>",
        "void multi_tensor_apply_kernel<TensorListMetadata<1>, L2NormFunctor<float>, float *>",
    ],
    "elementwise": [
        "void at::native::vectorized_elementwise_kernel<(int)4, CUDAFunctor_add<float>>",
        "void at::native::elementwise_kernel<(int)128, (int)4, direct_copy_kernel_cuda>",
        "void at::native::reduce_kernel<(int)512, (int)1, at::native::ReduceOp<float>>",
        "triton_poi_fused_add_gelu_2",
        "void at::native::<unnamed>::fused_dropout_kernel_vec<float, float, unsigned int>",
    ],
    "memory": [
        "void at::native::<unnamed>::CatArrayBatchedCopy_vectorized<OpaqueType<(unsigned int)2>>",
        "void at::native::<unnamed>::indexSelectLargeIndex<c10::BFloat16, long, unsigned int>",
        "void at::native::<unnamed>::embedding_backward_feature_kernel<float, float, long>",
        "[CUDA memcpy]",
    ],
    "other": [
        "void at::native::<unnamed>::cunn_SoftMaxForward<(int)4, float, LogSoftMaxForwardEpilogue>",
        "my_own_kernel(float *, int)",
    ],
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names]
)
def test_a_kernel_is_classified_by_its_name(kind: str, name: str) -> None:
    assert classify(name) == kind


def test_every_pattern_leads_to_a_class_that_is_shown() -> None:
    assert {kind for kind, _ in PATTERNS} <= set(CLASSES)
