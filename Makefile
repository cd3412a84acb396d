# Spotgrad. `make` builds bin/spotgrad and its links; `make help` lists the targets.
#
# One build folder per configuration, so that flags never mix: build/release, build/asan, build/tsan,
# build/msan, build/fuzz.
CONFIG ?= release
BUILD  := build/$(CONFIG)
BIN    := $(if $(filter release,$(CONFIG)),bin,$(BUILD)/bin)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wdouble-promotion -Wformat=2
OPTIMISE_release = -O3 -g1
OPTIMISE_asan    = -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined \
                   -fno-sanitize-recover=all
# ThreadSanitizer follows the fibers of the emulated GPU (gcc's; see docs/contributing.md)
OPTIMISE_tsan    = -O1 -g1 -fno-omit-frame-pointer -fsanitize=thread
# clang's, for the emulation and what it needs of the rest: oneDNN and others are not instrumented
OPTIMISE_msan    = -O1 -g1 -fno-omit-frame-pointer -fsanitize=memory \
                   -fsanitize-ignorelist=tests/emulation/msan.txt
# clang's; the profile tells scripts/fuzz which lines were reached
OPTIMISE_fuzz    = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                   -fno-sanitize-recover=all -fprofile-instr-generate -fcoverage-mapping
ifeq ($(OPTIMISE_$(CONFIG)),)
  $(error CONFIG=$(CONFIG) is none of release, asan, tsan, msan, fuzz)
endif
MACHINE  = -mavx2 -mfma -mprfchw -ffp-contract=off
CPPFLAGS += -Isrc
CFLAGS   += -std=c11 $(OPTIMISE_$(CONFIG)) $(MACHINE) $(WARNINGS) $(if $(CI),-Werror)
CXXFLAGS += -std=c++17 $(OPTIMISE_$(CONFIG)) $(MACHINE) -Wall -Wextra -Wshadow $(if $(CI),-Werror)
EMULATION = $(CPPFLAGS) -Itests -Icuda -DSG_EMULATED -fPIC
# a bundle's libraries lie beside the program; RPATH, and not RUNPATH, also serves what those need
RPATH     = -Wl,--disable-new-dtags,-rpath,'$$ORIGIN'
LDLIBS   += -ldnnl -lgomp -ldl -lm -lpthread

SOURCES  := $(wildcard src/*/*.c)
OBJECTS  := $(SOURCES:%.c=$(BUILD)/%.o)
# compiled a second time, for AVX-512 and blocks of 16 channels: src/cpu/simd.h
BLOCKED  := attention batch_norm conv2d conv2d_dw layer_norm layout levels linear pointwise pool reduce
OBJECTS  += $(BLOCKED:%=$(BUILD)/src/cpu/%.avx512.o)
# ONNX's schema as C, made by protoc-c; what src/onnx/ includes of it must be there first
SCHEMA   := $(BUILD)/schema/onnx.pb-c
SCHEMED  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard src/onnx/*.c))
OBJECTS  += $(SCHEMA).o
CPPFLAGS += -isystem $(BUILD)/schema
LIBRARY  := $(filter-out $(BUILD)/src/cli/%,$(OBJECTS))
PROGRAM  := $(filter $(BUILD)/src/cli/%,$(OBJECTS))
# what tests share: tests/op_check.h, tests/damage.h, tests/fuzz/fuzz.h
FUZZ     := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/driver.c,$(wildcard tests/fuzz/*.c)))
HELPERS  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/op_*.c) tests/damage.c tests/transport_fixture.c tests/nccl_stand_in.c) $(FUZZ)
# and of the library what tests/fuzz/ reaches
FUZZED   := $(filter $(BUILD)/src/core/% $(BUILD)/src/data/% %/train/history.o %/spot/parse.o,$(LIBRARY))
# CUDA: kernels are compiled by nvcc into a plug-in, and by the host's compiler for the tests, which
# emulate a GPU (tests/emulation/); what calls NVIDIA's libraries is in cuda/vendor/
KERNELS  := $(wildcard cuda/*.cu)
EMULATED := $(KERNELS:%.cu=$(BUILD)/emulated/%.o) \
            $(patsubst %.c,$(BUILD)/emulated/%.o,$(filter-out cuda/plugin.c,$(wildcard cuda/*.c))) \
            $(patsubst %.cpp,$(BUILD)/emulated/%.o,$(wildcard tests/emulation/*.cpp)) \
            $(patsubst %.c,$(BUILD)/emulated/%.o,$(wildcard tests/emulation/*.c))
# the same as a plug-in, for tests of the programs: beside a copy of bin/spotgrad, with a stand-in
# for the driver (tests/integration/cuda.sh)
EMULATED_PLUGIN := $(BUILD)/emulated/libspotgrad_cuda.so
# The plug-in, where nvcc, cuBLASLt and cuDNN are found. Machine code for each of CUDA_ARCHES, and
# PTX of the last, which drivers of later GPUs compile.
CUDA_ARCHES ?= 90
NVCC     ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA     := $(patsubst %/bin/,%,$(dir $(NVCC)))
CUDNN    := $(wildcard $(CUDA:%=%/include/cudnn.h) /usr/include/cudnn.h /usr/include/*/cudnn.h)
VENDOR   := $(if $(NVCC),$(if $(CUDNN),$(wildcard $(CUDA)/include/cublasLt.h)))
# `make bundle` builds another one, for more GPUs, from objects of its own
PLUGIN_AT ?= $(BIN)
PLUGGED_AT ?= $(BUILD)/plugin
PLUGIN   := $(if $(VENDOR),$(if $(filter release,$(CONFIG)),$(PLUGIN_AT)/libspotgrad_cuda.so))
PLUGGED  := $(patsubst %,$(PLUGGED_AT)/%.o,$(basename $(wildcard cuda/*.cu cuda/*.c cuda/vendor/*.cu cuda/vendor/*.c)))
NVCCFLAGS = -std=c++17 -O3 -lineinfo -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra \
            $(if $(CI),-Werror all-warnings) \
            $(foreach a,$(CUDA_ARCHES),-gencode arch=compute_$(a),code=sm_$(a)) \
            -gencode arch=compute_$(lastword $(CUDA_ARCHES)),code=compute_$(lastword $(CUDA_ARCHES))
# The plug-in around Gloo, for workers on several machines, where its header is found. Programs look
# for it beside themselves: tests and benchmarks, too.
GLOO     := $(shell echo | $(CXX) -E -x c++ -include gloo/config.h - >/dev/null 2>&1 && echo yes)
GLOO_PLUGIN := $(if $(GLOO),$(BIN)/libspotgrad_gloo.so)
GLOO_BESIDE := $(if $(GLOO),$(patsubst %,$(BUILD)/%/libspotgrad_gloo.so,tests bench))
# The one around NCCL, for workers on several GPUs, where CUDA's runtime and nccl.h are found
NCCL     := $(if $(NVCC),$(firstword $(wildcard $(CUDA)/include/nccl.h /usr/include/nccl.h /usr/local/include/nccl.h)))
NCCL_PLUGIN := $(if $(NCCL),$(BIN)/libspotgrad_nccl.so)
NCCL_BESIDE := $(if $(NCCL),$(BUILD)/tests/libspotgrad_nccl.so)
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
CHAOS    := $(BUILD)/tests/chaos/preload.so $(BUILD)/tests/chaos/whole
# what our engine computes, for tests/integration/export.py
ENGINE   := $(BUILD)/tests/export/engine
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
CUDA_TESTS := $(filter $(BUILD)/tests/test_cuda_%,$(TESTS))
# a sub-command is a file in src/cli/ with one of these names
COMMANDS := $(filter train evaluate predict export,$(notdir $(basename $(wildcard src/cli/*.c))))
LINKS    := $(COMMANDS:%=$(BIN)/%)
FORMATTED := $(wildcard src/*.h src/*/*.h src/*/*.c src/*/*.cpp cuda/*.[ch] cuda/*.cu cuda/vendor/*.[ch] cuda/nccl/*.c bundle/*.c tests/*.c tests/*.h \
               tests/emulation/*.[ch] tests/emulation/*.cpp tests/emulation/*.cu tests/fuzz/*.[ch] tests/gpu/*.[ch] tests/chaos/*.c tests/export/*.c bench/*.[ch] examples/*.c)

MAKEFLAGS += --no-print-directory
# `make V=1` shows the commands
Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-5s %s\n' $(1) $(2))

# a make within make uses all processors, unless the outer one was told how many
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

all: $(BIN)/spotgrad $(LINKS) $(PLUGIN) $(GLOO_PLUGIN) $(NCCL_PLUGIN)

# Libraries are looked for once, and not at all by the targets that need none or install them first.
PACKAGES := libpng libjpeg expat hdf5 jansson libutf8proc openssl libcurl libprotobuf-c
NEED_NO_LIBRARY := help clean format test demo bench fuzz
ifneq ($(if $(MAKECMDGOALS),$(filter-out $(NEED_NO_LIBRARY),$(MAKECMDGOALS)),all),)
  MISSING := $(shell CC="$(CC)" scripts/missing $(PACKAGES))
  ifneq ($(MISSING),)
    $(error Debian packages are missing: $(MISSING). Run `scripts/setup build`, or install them)
  endif
  CPPFLAGS += $(shell pkg-config --cflags $(PACKAGES))
  LDLIBS   := $(shell pkg-config --libs $(PACKAGES)) $(LDLIBS)
endif

$(BIN)/spotgrad: $(PROGRAM) $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) -Wl,--export-dynamic-symbol='sg_*' $(LDLIBS) -o $@
	$(if $(VENDOR),,@echo "note  no nvcc with cuBLASLt and cuDNN: built without the CUDA plug-in, trains on CPUs")
	$(if $(NCCL),,@echo "note  no nvcc with nccl.h: built without NCCL's plug-in, workers' GPUs exchange through the hosts' memory")
	$(if $(GLOO),,@echo "note  no Gloo (libgloo-dev): built without its plug-in, workers must be on one machine")

$(LINKS): $(BIN)/spotgrad
	@ln -sf spotgrad $@

$(BUILD)/libspotgrad.a: $(LIBRARY)
	@rm -f $@
	$(call say,ar,$@)
	$(Q)$(AR) rcs $@ $^

# with others' threads of OpenMP; clang has other ones, and one will do where that is the compiler
$(BUILD)/src/cpu/parts.o: CFLAGS += $(if $(findstring clang,$(CC)),-Wno-source-uses-openmp,-fopenmp)

# runs before the processor is known to have AVX2, to say so where it has not
$(BUILD)/src/cli/main.o: MACHINE = -mno-avx

$(BUILD)/%.avx512.o: MACHINE = -DSG_BLOCK=16 -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma -ffp-contract=off

$(BUILD)/%.avx512.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,"$< (AVX-512)")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(SCHEMA).c: third_party/onnx/onnx.proto
	@mkdir -p $(@D)
	$(call say,protoc,$<)
	$(Q)protoc-c --c_out=$(@D) --proto_path=$(<D) $<

$(SCHEMA).h: $(SCHEMA).c ;

# no source of ours: its warnings are nobody's
$(SCHEMA).o: $(SCHEMA).c Makefile
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@

$(SCHEMED): | $(SCHEMA).h

$(BUILD)/libtesting.a: $(HELPERS)
	@rm -f $@
	$(call say,ar,$@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/tests/test_%: tests/test_%.c $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $< $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a $(LDFLAGS) -lcmocka -lz $(LDLIBS) -o $@

$(BUILD)/emulated/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(call say,c++,"$< (emulated)")
	$(Q)$(CXX) -x c++ $(EMULATION) $(CXXFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/emulated/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(call say,c++,$<)
	$(Q)$(CXX) $(EMULATION) $(CXXFLAGS) -MMD -MP -c $< -o $@

# the emulation's own bookkeeping is no part of what is looked at
ifeq ($(CONFIG),tsan)
EMULATION += -DSG_EMULATED_TSAN
$(BUILD)/emulated/tests/emulation/cuda_%.o: CXXFLAGS += -fno-sanitize=thread
endif

ifeq ($(CONFIG),msan)
EMULATION += -DSG_EMULATED_MSAN
endif

$(BUILD)/emulated/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,"$< (emulated)")
	$(Q)$(CC) $(EMULATION) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libemulated.a: $(EMULATED)
	@rm -f $@
	$(call say,ar,$@)
	$(Q)$(AR) rcs $@ $^

# What a plug-in takes from the program is found in it when it is loaded, so it is looked for here.
define check_given
@nm --dynamic --defined-only --format=just-symbols $(BIN)/spotgrad | sort >$@.given
@! nm --dynamic --undefined-only --format=just-symbols $@ | grep ^sg_ | sort | comm -23 - $@.given | \
    sed 's/.*/$(@F): & is not in the program/' | grep .
@rm $@.given
endef

$(EMULATED_PLUGIN): $(BUILD)/emulated/cuda/plugin.o $(BUILD)/libemulated.a $(BIN)/spotgrad
	$(call say,link,$@)
	$(Q)$(CXX) $(CXXFLAGS) -shared -Wl,-Bsymbolic $< -Wl,--whole-archive $(filter %.a,$^) -Wl,--no-whole-archive $(LDFLAGS) -o $@
	$(check_given)

# kernels with planted faults, alone with the emulation: tests/quality/emulation.sh
$(BUILD)/planted: $(BUILD)/emulated/tests/emulation/planted.o $(patsubst %,$(BUILD)/emulated/tests/emulation/cuda_%.o,model runtime_model)
	$(call say,link,$@)
	$(Q)$(CXX) $(CXXFLAGS) $^ $(LDFLAGS) -o $@

$(CUDA_TESTS): $(BUILD)/tests/test_%: tests/test_%.c $(BUILD)/libemulated.a $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(EMULATION) $(CFLAGS) -MMD -MP $< $(filter %.a,$^) $(LDFLAGS) -lcmocka -lz $(LDLIBS) -lstdc++ -o $@

## cuda          the CUDA plug-in, bin/libspotgrad_cuda.so (CUDA_ARCHES=90): part of `make` with nvcc
cuda: $(if $(PLUGIN),$(PLUGIN),cuda-missing)

cuda-missing:
	@echo "cuda: needs nvcc, cublasLt.h and cudnn.h, and CONFIG=release; found:" \
	    "$(or $(NVCC),no nvcc), $(or $(VENDOR),no cublasLt.h), $(or $(CUDNN),no cudnn.h)" >&2; exit 69

$(BUILD)/gloo/%.o: %.cpp Makefile
	@mkdir -p $(@D)
	$(call say,c++,$<)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@

$(BIN)/libspotgrad_gloo.so: $(BUILD)/gloo/src/dist/gloo_plugin.o
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CXX) $(CXXFLAGS) -shared $< $(LDFLAGS) -lgloo -lpthread -o $@

# as the program's: RPATH, not RUNPATH
$(BUILD)/bundle/libspotgrad_gloo.so: $(BUILD)/gloo/src/dist/gloo_plugin.o
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CXX) $(CXXFLAGS) -shared $< $(LDFLAGS) $(RPATH) -lgloo -lpthread -o $@

$(BUILD)/nccl/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) -isystem $(CUDA)/include $(CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@

$(BIN)/libspotgrad_nccl.so: $(BUILD)/nccl/cuda/nccl/plugin.o
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) -shared $< $(LDFLAGS) -Wl,-rpath=$(CUDA)/lib64 -L$(CUDA)/lib64 -lnccl -lcudart_static -lrt -ldl -lpthread -o $@

$(NCCL_BESIDE): $(BIN)/libspotgrad_nccl.so
	@mkdir -p $(@D)
	@ln -sf $(abspath $<) $@

$(BUILD)/tests/test_nccl: | $(NCCL_BESIDE)

$(GLOO_BESIDE): $(BIN)/libspotgrad_gloo.so
	@mkdir -p $(@D)
	@ln -sf $(abspath $<) $@

$(BUILD)/tests/test_transport $(BUILD)/tests/test_transport_choice: | $(filter $(BUILD)/tests/%,$(GLOO_BESIDE))
$(BUILD)/bench/transport: | $(filter $(BUILD)/bench/%,$(GLOO_BESIDE))

$(PLUGGED_AT)/%.o: %.cu Makefile
	@mkdir -p $(@D)
	$(call say,nvcc,$<)
	$(Q)$(NVCC) $(CPPFLAGS) -Icuda $(NVCCFLAGS) -MMD -MP -c $< -o $@

$(PLUGGED_AT)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,"$< (plug-in)")
	$(Q)$(CC) $(CPPFLAGS) -Icuda -isystem $(CUDA)/include $(CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c $< -o $@

$(PLUGIN_AT)/libspotgrad_cuda.so: $(PLUGGED) $(BIN)/spotgrad
	$(call say,link,$@)
	$(Q)$(NVCC) -shared -cudart static -Xlinker -rpath=$(CUDA)/lib64 $(filter %.o,$^) -L$(CUDA)/lib64 -lcublasLt -lcudnn -o $@
	$(check_given)

# asks the libraries themselves, where they are
ifneq ($(PLUGIN),)
$(BUILD)/tests/test_vendor: tests/test_vendor.c $(PLUGGED) $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) -Icuda -DSG_WITH_VENDOR $(CFLAGS) -MMD -MP $< $(filter %.o %.a,$^) $(LDFLAGS) -Wl,-rpath=$(CUDA)/lib64 -L$(CUDA)/lib64 -lcublasLt -lcudnn -lcudart_static -lrt -lcmocka -lz $(LDLIBS) -lstdc++ -o $@
endif

# The same tests for a real GPU, and what scripts/gpu-check measures there. Their values stay in host
# memory (tests/gpu/staged.h); those of DIRECT put theirs on the device themselves.
CHECK     := $(BUILD)/check
DIRECT    := test_cuda_device test_cuda_trainer test_cuda_team test_cuda_rows test_cuda_token_block test_cuda_text test_cuda_text_classifier test_cuda_augment
GPU_TESTS := $(patsubst tests/%.c,$(CHECK)/%,$(wildcard tests/test_cuda_*.c) tests/test_vendor.c)
GPU_BENCH := $(patsubst bench/%.c,$(CHECK)/bench_%,$(wildcard bench/detector.c bench/text_encoder.c))
GPU_BUNDLE := $(BUILD)/bundle/spotgrad-gpu-check
GPU_LIBS   = -Wl,-rpath=$(CUDA)/lib64 -L$(CUDA)/lib64 -lcublasLt -lcudnn -lcudart_static -lrt -lstdc++
STAGED     = -Dsg_backend_cuda=sg_backend_staged -Dsg_cuda_nms=sg_staged_nms

$(CHECK)/%.o: tests/%.c Makefile
	@mkdir -p $(@D)
	$(call say,cc,"$< (for a GPU)")
	$(Q)$(CC) $(CPPFLAGS) -Itests -Icuda $(if $(filter-out $(DIRECT),$(filter test_cuda_%,$*)),$(STAGED)) \
	    $(if $(filter test_vendor,$*),-DSG_WITH_VENDOR) \
	    $(CFLAGS) -MMD -MP -c $< -o $@

$(GPU_TESTS): $(CHECK)/test_%: $(CHECK)/test_%.o $(CHECK)/gpu/staged.o $(CHECK)/op_check.o $(PLUGGED) $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(RPATH) -lcmocka -lz $(LDLIBS) $(GPU_LIBS) -o $@

# these load the plug-in beside them, which looks for all of the library in the program
$(GPU_BENCH): $(CHECK)/bench_%: bench/%.c bench/common.c bench/common.h $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,"$< (for a GPU)")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(filter %.c,$^) -Wl,--whole-archive $(BUILD)/libspotgrad.a -Wl,--no-whole-archive $(LDFLAGS) $(RPATH) \
	    -Wl,--export-dynamic-symbol='sg_*' $(LDLIBS) -o $@

# a card's ceilings: bare cuBLASLt and copies
$(CHECK)/bench_ceilings: bench/ceilings.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CFLAGS) -isystem $(CUDA)/include $< $(RPATH) $(GPU_LIBS) -lm -ldl -lpthread -o $@

NCCL_CHECK := $(if $(NCCL),$(CHECK)/test_nccl)

$(CHECK)/test_nccl: $(CHECK)/test_nccl.o $(BUILD)/libtesting.a $(BUILD)/libspotgrad.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(RPATH) -lcmocka -lz $(LDLIBS) -o $@

## gpu-programs  what scripts/gpu-check runs: CUDA tests and benchmarks for a real GPU
gpu-programs: $(if $(PLUGIN),,cuda-missing) all $(GPU_TESTS) $(NCCL_CHECK) $(GPU_BENCH) $(CHECK)/bench_ceilings
	@ln -sf $(patsubst %,../../../%,$(PLUGIN) $(NCCL_PLUGIN)) $(CHECK)/

# Each test has the plug-in's objects, 11 MB: a dictionary that reaches from one to the next halves the archive.
## gpu-bundle    a folder, and its .tar.xz, with which a GPU machine runs scripts/gpu-check
gpu-bundle: gpu-programs $(BUILD)/bundle/spotgrad
	rm -rf $(GPU_BUNDLE)
	@mkdir -p $(GPU_BUNDLE)/lib $(GPU_BUNDLE)/scripts $(GPU_BUNDLE)/bench
	strip -o $(GPU_BUNDLE)/lib/spotgrad $(BUILD)/bundle/spotgrad
	for f in $(PLUGIN) $(NCCL_PLUGIN) $(GPU_TESTS) $(NCCL_CHECK) $(GPU_BENCH) $(CHECK)/bench_ceilings; do strip -o $(GPU_BUNDLE)/lib/$$(basename $$f) $$f || exit 1; done
	cp scripts/gpu-check scripts/gpu_run.py scripts/gpu_bench.py $(GPU_BUNDLE)/scripts/
	cp bench/torch_*.py $(GPU_BUNDLE)/bench/
	scripts/bundle $(GPU_BUNDLE)
	XZ_LEVEL=$${XZ_LEVEL:---lzma2=preset=6,dict=64MiB} scripts/bundle $(GPU_BUNDLE) $(GPU_BUNDLE).tar.xz

$(BUILD)/tests/chaos/%.so: tests/chaos/%.c
	@mkdir -p $(@D)
	$(call say,cc,$@)
	$(Q)$(CC) -std=c11 -O2 -g $(WARNINGS) $(if $(CI),-Werror) -fPIC -shared $< -ldl -lpthread -o $@

$(BUILD)/tests/chaos/whole $(ENGINE): $(BUILD)/%: %.c $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $< $(BUILD)/libspotgrad.a $(LDFLAGS) $(LDLIBS) -o $@

$(BUILD)/examples/%: examples/%.c $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $< $(BUILD)/libspotgrad.a $(LDFLAGS) $(LDLIBS) -o $@

## examples      build the programs of examples/, into build/release/examples/
examples: $(EXAMPLES)

$(patsubst %,$(BUILD)/bench/%,detector predict text_encoder bag): bench/common.c bench/common.h

$(BUILD)/bench/%: bench/%.c $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(filter %.c,$^) $(BUILD)/libspotgrad.a $(LDFLAGS) $(LDLIBS) -o $@

## bench         speed beside PyTorch's and onnxruntime's (installs python3-torch, 0.6 GB; 15 minutes)
bench:
	scripts/setup bench
	$(MAKE) $(JOBS) all $(addprefix $(BUILD)/bench/,detector predict kernels checkpoint loader text_encoder tokenizer bag transport)
	scripts/bench
	scripts/bench-onnx
	$(if $(SPOTGRAD_DATA),-scripts/bench-int8,@echo "no SPOTGRAD_DATA: without int8")
	scripts/bench-text --rounds 3
	scripts/bench-bag
	$(if $(SPOTGRAD_DATA),scripts/bench-fasttext,@echo "no SPOTGRAD_DATA: without fasttext")
	scripts/bench-workers
	$(if $(SPOTGRAD_DATA),scripts/bench-workers --texts,@echo "no SPOTGRAD_DATA: without workers on texts")
	scripts/bench-checkpoint
	$(BUILD)/bench/checkpoint $(BUILD)/bench-run
	$(BUILD)/bench/kernels
	$(if $(SPOTGRAD_DATA),$(BUILD)/bench/loader $(SPOTGRAD_DATA)/masks,@echo "no SPOTGRAD_DATA: without the loader of pictures")
	$(BUILD)/bench/transport
	$(BUILD)/bench/tokenizer $(wildcard $(SPOTGRAD_DATA)/tweeteval/*/train_text.txt $(SPOTGRAD_DATA)/tweeteval/stance/*/train_text.txt)

# The release artefact: a folder that runs on any Linux of this processor (scripts/bundle). Its plug-in
# has machine code for more GPUs than the one in bin/.
VERSION  := $(shell sed -n 's/^.define SPOTGRAD_VERSION "\(.*\)"/\1/p' src/spotgrad.h)
BUNDLE   := $(BUILD)/bundle/spotgrad-$(VERSION)-linux-x86_64
BUNDLE_ARCHES ?= 75 80 86 89 90

$(BUILD)/bundle/spotgrad: $(PROGRAM) $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $^ $(LDFLAGS) $(RPATH) -Wl,--export-dynamic-symbol='sg_*' $(LDLIBS) -o $@

## bundle        a folder for any Linux with AVX2, and its .tar.xz, in build/release/bundle/ (10 minutes)
bundle: bundle-folder
	scripts/bundle $(BUNDLE) $(BUNDLE).tar.xz

bundle-folder: $(BIN)/spotgrad $(BUILD)/bundle/spotgrad $(if $(GLOO),$(BUILD)/bundle/libspotgrad_gloo.so) $(NCCL_PLUGIN)
	rm -rf $(BUNDLE)
	@mkdir -p $(BUNDLE)/lib
	strip -o $(BUNDLE)/lib/spotgrad $(BUILD)/bundle/spotgrad
ifneq ($(PLUGIN),)
	$(MAKE) PLUGIN_AT=$(BUILD)/bundle PLUGGED_AT=$(BUILD)/bundle/plugin CUDA_ARCHES="$(BUNDLE_ARCHES)" cuda
	strip -o $(BUNDLE)/lib/libspotgrad_cuda.so $(BUILD)/bundle/libspotgrad_cuda.so
endif
	$(if $(GLOO_PLUGIN),strip -o $(BUNDLE)/lib/libspotgrad_gloo.so $(BUILD)/bundle/libspotgrad_gloo.so)
	$(if $(NCCL_PLUGIN),strip -o $(BUNDLE)/lib/libspotgrad_nccl.so $(NCCL_PLUGIN),@echo "note  no nvcc with nccl.h: a bundle without NCCL's plug-in")
	scripts/bundle $(BUNDLE)

## size          bytes of the program and of every library that it loads
size: $(BIN)/spotgrad
	@scripts/size $<

TEST_LOGS := build/test-logs$(if $(filter release,$(CONFIG)),,/$(CONFIG))

## unit          build and run the unit tests: offline, under a minute
unit: $(TESTS)
	@SPOTGRAD_TEST_LOGS=$(TEST_LOGS) tests/run $(TESTS) tests/emulation/kernels.py

## test          install what tests need, build, run unit and integration tests
test:
	scripts/setup test
	$(MAKE) $(JOBS) all check

## check         all tests, with what is installed; QUALITY=1 adds headers, lint and sanitizers
check: all examples $(TESTS) $(CHAOS) $(ENGINE) $(EMULATED_PLUGIN) $(GPU_BENCH) $(if $(PLUGIN),gpu-programs)
	@SPOTGRAD_TEST_LOGS=$(TEST_LOGS) tests/run $(TESTS) tests/emulation/kernels.py $(wildcard tests/integration/*.sh tests/integration/*.py) \
	    $(if $(QUALITY),$(wildcard tests/quality/*.sh))

## chaos         a training killed CHAOS_KILLS=1000 times, and what else can befall it (45 minutes)
chaos: all $(CHAOS)
	$(or $(wildcard .venv/bin/python),python3) tests/chaos/run --kills $(or $(CHAOS_KILLS),1000)
	$(or $(wildcard .venv/bin/python),python3) tests/chaos/run --texts --kills $(or $(CHAOS_KILLS),1000)
	$(or $(wildcard .venv/bin/python),python3) tests/chaos/workers --faults $(or $(CHAOS_KILLS),1000)
	$(or $(wildcard .venv/bin/python),python3) tests/chaos/workers --texts --faults $(or $(CHAOS_KILLS),1000)

## damaged       DAMAGED_FILES=100000 damaged checkpoints, a tenth of them under ASan (15 minutes)
damaged: $(BUILD)/tests/test_damaged
	$< --count $(or $(DAMAGED_FILES),100000)
	$(MAKE) $(JOBS) CONFIG=asan build/asan/tests/test_damaged
	LSAN_OPTIONS=suppressions=tests/lsan.supp:print_suppressions=0 \
	    build/asan/tests/test_damaged --count $$(($(or $(DAMAGED_FILES),100000) / 10)) 2

## asan          the unit tests under AddressSanitizer, LeakSanitizer and UBSan
asan:
	$(MAKE) $(JOBS) CONFIG=asan unit

$(BUILD)/fuzz: $(BUILD)/tests/fuzz/driver.o $(FUZZ) $(FUZZED)
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer $^ $(LDFLAGS) -lz $(LDLIBS) -o $@

## fuzz          parsers under libFuzzer, FUZZ_RUNS=1000000 each (installs clang and llvm)
fuzz:
	scripts/setup fuzz
	$(MAKE) $(JOBS) CONFIG=fuzz CC=clang build/fuzz/fuzz
	scripts/fuzz $(FUZZ_ENTRIES)

## demo          install what is needed, build, train on drawn pictures, predict (4 minutes)
demo:
	scripts/setup build
	$(MAKE) $(JOBS) all
	scripts/demo

## headers       every header of src/ compiles alone, as C11 and, where meant for it, as C++17
headers: $(SCHEMA).h
	@for h in $(wildcard src/*.h src/*/*.h); do \
	    printf '#include "%s"\n' "$${h#src/}" | $(CC) $(CPPFLAGS) $(MACHINE) -std=c11 $(WARNINGS) -Werror \
	        -fsyntax-only -x c - || exit 1; \
	    ! grep -q __cplusplus $$h || printf '#include "%s"\n' "$${h#src/}" | $(CXX) $(CPPFLAGS) $(MACHINE) \
	        -std=c++17 -Wall -Wextra -Werror -fsyntax-only -x c++ - || exit 1; \
	done; echo "headers: all compile alone"

## docs          write docs/configuration.md anew from src/core/keys.def
docs: $(BIN)/spotgrad $(BIN)/train
	$(BIN)/train --help-config --markdown > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

## format        clang-format on all sources
format:
	@clang-format -i $(FORMATTED)
	@echo "format  $(words $(FORMATTED)) files"

## lint          clang-format's check, clang-tidy and cppcheck
lint: $(SCHEMA).h
	@scripts/lint "$(CPPFLAGS)" $(FORMATTED)

## clean         remove build/ and bin/
clean:
	rm -rf build bin

## help          this list
help:
	@echo "make               build bin/spotgrad and its links (CONFIG=asan: build/asan/bin)"
	@sed -n 's/^## /make /p' Makefile

.PHONY: all bundle bundle-folder gpu-programs gpu-bundle cuda cuda-missing bench examples size unit test check chaos damaged asan fuzz demo headers docs format lint clean help
.DELETE_ON_ERROR:
-include $(wildcard $(BUILD)/check/*.d $(BUILD)/check/gpu/*.d) $(OBJECTS:.o=.d) $(HELPERS:.o=.d) $(BUILD)/tests/fuzz/driver.d $(TESTS:=.d) $(EXAMPLES:=.d) $(EMULATED:.o=.d) $(PLUGGED:.o=.d) $(BUILD)/gloo/src/dist/gloo_plugin.d $(BUILD)/nccl/cuda/nccl/plugin.d
