# Spotgrad. `make` builds bin/spotgrad; `make help` lists the targets.
CONFIG ?= release
BUILD  ?= build/$(CONFIG)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wdouble-promotion -Wformat=2
PACKAGES = libpng libjpeg expat hdf5 jansson openssl
CPPFLAGS += -Isrc $(shell pkg-config --cflags $(PACKAGES))
CFLAGS   += -std=c11 -O3 -g -mavx2 -mfma -ffp-contract=off $(WARNINGS) $(if $(CI),-Werror)
LDLIBS   += $(shell pkg-config --libs $(PACKAGES)) -ldnnl -lopenblas -lm -lpthread

SOURCES  = $(wildcard src/*/*.c)
LIBRARY  = $(filter-out src/cli/main.c,$(SOURCES))
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
TESTS    = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))

all: $(if $(wildcard src/cli/main.c),bin/spotgrad,$(BUILD)/libspotgrad.a)

bin/spotgrad: $(BUILD)/src/cli/main.o $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDLIBS) -o $@

$(BUILD)/libspotgrad.a: $(LIBRARY:%.c=$(BUILD)/%.o)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/tests/%: tests/%.c $(BUILD)/libspotgrad.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $< $(BUILD)/libspotgrad.a $(LDFLAGS) -lcmocka $(LDLIBS) -o $@

unit: $(TESTS)
	@for t in $(TESTS); do echo "== $$t"; $$t || exit 1; done

clean:
	rm -rf build bin

.PHONY: all unit clean
-include $(OBJECTS:.o=.d) $(TESTS:=.d)
