/* An ONNX model in int8, by QuantizeLinear and DequantizeLinear around what runtimes compute in
 * integers (static quantisation, "QDQ", U8S8).
 *
 * Quantised is what lies between convolutions: those under a SiLU, with all that is only sigmoids,
 * products, sums, concatenations and enlargements of such values. So a head's last convolution,
 * which has no SiLU, and what is made of it stay in float. And the products of a text's tokens with
 * matrices of weights, of which only these and what they are multiplied with are quantised.
 * Filters: symmetric, a scale an output channel, matrices a column; biases: int32, of the product
 * of the input's scale and the filter's; values: uint8, a scale and a zero point from the range
 * that was seen. (int8 values, S8S8, are what onnxruntime advises. On x86 it makes uint8 of them
 * itself, but only of those that one node reads, and of a SiLU's convolution two do: it fuses
 * nothing then, and 1.32 takes 0.75 to 2 times what floats take. Of uint8 it fuses all.) */
#ifndef SG_ONNX_QUANTIZE_H
#define SG_ONNX_QUANTIZE_H

#include "onnx/ranges.h"

/* The same model in int8, with its metadata. SG_ERR_DATA: no model; SG_ERR_UNSUPPORTED: nothing in
 * it can be quantised; SG_ERR_OOM. */
sg_status sg_onnx_quantize(const uint8_t *bytes, size_t size, const sg_onnx_ranges *ranges,
                           sg_onnx **out) SG_CHECKED;

#endif
