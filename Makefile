# The promises of this tree, one target each; `make help` lists them.
#
# An application does not need this file: it compiles jobq.c with its own flags.
#
# CC, CXX, CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS are yours and come after ours, so they win.
# SQLITE_DIR=folder  use the sqlite3.c and sqlite3.h in there (see sqlite3/README.md)
# lanes=n            test programs at a time; as many as there are processors
# T=name             run only the test programs with that in their names
# N=name             and of those only the tests with that in their names
# show=              print the whole command lines of the compiler
# Everything that is built goes into build/.

variant = plain
B = build/$(variant)

warnings = -Wall -Wextra -Wpedantic -Wconversion -Wunused-function
slow = -DJOBQ_DEBUG -DJOBQ_TEST_SCALE=4 -DTEST_SANITIZED -fno-omit-frame-pointer
flags_plain =
flags_debug = -DJOBQ_DEBUG
flags_asan = $(slow) -fsanitize=address
flags_ubsan = $(slow) -fsanitize=undefined -fno-sanitize-recover=undefined
flags_tsan = $(slow) -fsanitize=thread
flags_modules = -DJOBQ_MODULES -DJOBQ_TEST_SCALE=4 -iquote amalgamation -I. -I$(B)

our_flags = -std=c99 -O2 -g $(warnings) -pthread -iquote tests/rig $(flags_$(variant)) $(sqlite_include)
compile = $(CC) $(our_flags) $(CPPFLAGS) $(CFLAGS)
link = $(LDFLAGS) $(sqlite_library) -pthread $(LDLIBS)
show = @echo '  $@';
depend = -MMD -MP -MF $@.d -MT $@

modules := $(shell sed -n 's/^\([a-z_]*\.c\) .*/\1/p' amalgamation/MANIFEST)
headers := $(shell sed -n 's/^\([a-z_]*\.h\) .*/\1/p' amalgamation/MANIFEST)
ifeq ($(variant),modules)
library = $(modules:%.c=$(B)/%.o)
unit_library = $(library)
unit_needs = $(B)/modules.h
else
library = $(B)/jobq.o
unit_library =
unit_needs = jobq.c
endif

# The programs of the suite: tests/api/order.c becomes api_order. tests/example_* are scripts that
# try the larger examples.
kinds = unit api fault crash sim stress header
program = $(B)/$(subst /,_,$(patsubst tests/%.c,%,$1))
tests = $(foreach source,$(wildcard $(kinds:%=tests/%/*.c)),$(call program,$(source)))
examples = $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
compared = $(foreach e,$(examples),$(if $(wildcard $(call expected,$e)),$e))
expected = examples/expected/$(notdir $1).txt
scripts = $(filter-out %.c %.md,$(wildcard tests/example_*))
chosen = $(if $(T),$(foreach p,$1,$(if $(findstring $(T),$(notdir $p)),$p)),$1)

MAKEFLAGS += --no-print-directory

# Where SQLite comes from. `sqlite3/get` does nothing if the system's library works.
ifneq ($(filter-out clean help tidy verify jobq.c,$(or $(MAKECMDGOALS),all)),)
sqlite_dir := $(SQLITE_DIR)
ifeq ($(sqlite_dir),)
sqlite_dir := $(shell CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' LDLIBS='$(LDLIBS)' \
    sqlite3/get || echo missing; test ! -f sqlite3/sqlite3.c || echo sqlite3)
endif
ifneq ($(filter missing,$(sqlite_dir)),)
$(error there is no SQLite to build with, see above)
endif
ifeq ($(sqlite_dir),)
sqlite_library = -lsqlite3
else
sqlite_include = -isystem $(sqlite_dir)
sqlite_library = build/sqlite/$(subst /,_,$(sqlite_dir)).o
endif
sqlite_object = $(filter %.o,$(sqlite_library))
endif

# all - the queue as an object file, and the examples
all: $(B)/jobq.o $(examples)

# run - start the larger example on this tree: the SHA-256 of every file, as durable jobs
run: $(B)/examples/digest
	@$< $(ARGS)

# test - the whole suite: unit, api, crash, stress, examples; ends with "N passed, N failed"
to_run = $(foreach p,$(call chosen,$(tests)),$p) \
    $(foreach e,$(call chosen,$(compared)),$e=$(call expected,$e)) $(call chosen,$(scripts))
test: $(call chosen,$(tests)) $(call chosen,$(compared)) $(if $(call chosen,$(scripts)),$(examples))
	@$(run_environment) tests/run -j $(lanes) $(if $(run_wrapper),-w '$(run_wrapper)') $(to_run)

lanes = $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
run_environment = JOBQ_BUILD='$(CURDIR)/$(B)' TESTS_OF_ONE='$(N)' \
    ASAN_OPTIONS="$${ASAN_OPTIONS:-detect_stack_use_after_return=1}" \
    UBSAN_OPTIONS="$${UBSAN_OPTIONS:-print_stacktrace=1}" \
    TSAN_OPTIONS="$${TSAN_OPTIONS:-die_after_fork=0:second_deadlock_stack=1}"
# The thread sanitizer of some compilers cannot bear how far newer kernels scatter memory.
run_wrapper = $(if $(filter tsan,$(variant)),$(shell setarch -R true 2>/dev/null && echo setarch -R))

# debug - the suite with the assertions inside jobq switched on
# asan - the suite under the address sanitizer, with assertions
# ubsan - the suite under the undefined behaviour sanitizer, with assertions
# tsan - the suite under the thread sanitizer, with assertions
# modules - the suite against the modules compiled apart, not against jobq.c
debug asan ubsan tsan modules: jobq.c $(sqlite_object)
	@$(MAKE) test variant=$@

# bench - build the benchmark and print its table (ARGS="rows")
bench: build/bench/bench
	@CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' SQLITE_DIR='$(sqlite_dir)' BENCH=$< tests/bench/run $(ARGS)

# sim - lives of a simulated device, and how to see again what failed (SEED=1 N=100 LIFE=storm)
sim: $(B)/sim_life
	@SIM_SEED='$(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom))' SIM_LIVES='$(or $(N),100)' \
	    SIM_LIFE='$(LIFE)' $< lives

# scoreboard - the guarantees as figures: everything that the fault rig searches (EFFORT=1)
# soak - the same with seed after seed for hours, until something breaks (HOURS=8 EFFORT=20)
with_figures = $(filter $(foreach source,$(shell grep -l test_figure tests/*/*.c),\
    $(call program,$(source))),$(call chosen,$(tests)))
scoreboard: $(with_figures)
	@tests/scoreboard -e $(or $(EFFORT),1) $(if $(T),,-m) $^
soak: $(with_figures)
	@tests/scoreboard -e $(or $(EFFORT),20) -s $(or $(HOURS),8) $^

# mutants - break jobq on purpose, one defect at a time: which test notices? (ARGS="part of a name")
mutants:
	@CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' LDLIBS='$(LDLIBS)' \
	    SQLITE_DIR='$(sqlite_dir)' tests/mutants/run $(ARGS)

# jobq.c - generate it from amalgamation/; everything that needs it does so by itself
jobq.c: jobq.h amalgamation/MANIFEST amalgamation/generate $(wildcard amalgamation/*.[ch])
	@mkdir -p build
	@amalgamation/generate >build/jobq.c.$$$$ && \
	if cmp -s build/jobq.c.$$$$ $@; then rm build/jobq.c.$$$$; touch $@; \
	else echo 'generated $@'; mv build/jobq.c.$$$$ $@; fi || { rm -f build/jobq.c.$$$$; exit 1; }

# verify - is the committed jobq.c what amalgamation/ generates?
verify:
	@mkdir -p build
	@amalgamation/generate >build/verify.c
	@if cmp build/verify.c jobq.c; then echo 'jobq.c is up to date'; \
	else echo 'jobq.c is not what amalgamation/ generates. Fix: make jobq.c, and commit it'; exit 1; fi

# tidy - the rules of the house: who may call what, lengths, names, white space
tidy:
	@amalgamation/tidy

# warnings - everything compiles without one, with every compiler at hand; the header as C++ too
compilers = $(CC) $(filter-out $(CC),gcc clang)
warnings: jobq.c $(B)/modules.h
	@for cc in $(compilers); do \
	    command -v $$cc >/dev/null || { echo "$$cc is not installed: skipped"; continue; }; \
	    strict="$$cc -std=c99 $(warnings) -Werror -pthread $(sqlite_include) $(CPPFLAGS)"; \
	    for how in -O2 '-O2 -DJOBQ_DEBUG' -Os '-O2 -DJOBQ_LINES'; do \
	        $$strict $$how -c jobq.c -o build/warnings.o || exit 1; \
	    done; \
	    for module in $(modules); do \
	        $$strict -O2 -I. -c amalgamation/$$module -o build/warnings.o || exit 1; \
	    done; \
	    for source in $(wildcard tests/*/*.c examples/*.c); do \
	        $$strict -iquote tests/rig -I. -fsyntax-only $$source || exit 1; \
	    done; \
	    if echo | $$cc -x c++ -fsyntax-only - 2>/dev/null; then \
	        $$cc -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Wold-style-cast -Werror -fsyntax-only \
	            tests/header/cxx.cpp \
	            || exit 1; \
	    else echo "$$cc cannot compile C++: tests/header/cxx.cpp skipped"; fi; \
	    echo "no warnings from $$cc"; \
	done

# symbols - jobq.o exports what jobq.h declares and nothing else; what is inside is called jobq__
symbols: jobq.c
	@mkdir -p build
	@$(CC) -std=c99 -O0 -pthread $(sqlite_include) $(CPPFLAGS) $(CFLAGS) -c jobq.c -o build/symbols.o
	@nm -P build/symbols.o | awk '$$2 ~ /^[TDBRCVW]$$/ { print $$1 }' | sort >build/exported
	@awk '/^JOBQ_API/ && match($$0, /jobq_[a-z0-9_]+\(/) { print substr($$0, RSTART, RLENGTH - 1) }' \
	    jobq.h | sort >build/declared
	@sed -n 's/^ *PUBLIC(\(.*\)),$$/\1/p' tests/header/symbols.c | sort >build/mentioned
	@status=0; \
	diff build/declared build/exported >build/symbols.diff || { status=1; \
	    sed -n 's/^</declared in jobq.h, not defined:/p; s/^>/exported, not in jobq.h:/p' build/symbols.diff; }; \
	diff build/declared build/mentioned >build/symbols.diff || { status=1; \
	    sed -n 's/^[<>]/tests\/header\/symbols.c and jobq.h differ in:/p' build/symbols.diff; }; \
	nm -P build/symbols.o | awk '$$2 ~ /^[tdbr]$$/ && $$1 !~ /^jobq__/ && $$1 !~ /\./ { \
	    print "inside, but not called jobq__:", $$1; bad = 1 } END { exit bad }' || status=1; \
	[ $$status -ne 0 ] || echo "$$(wc -l <build/exported) functions, all in jobq.h"; exit $$status

# size - bytes of code when jobq.c is optimised for size
size: jobq.c
	@mkdir -p build
	@$(CC) -std=c99 -Os -pthread $(sqlite_include) $(CPPFLAGS) $(CFLAGS) -c jobq.c -o build/size.o
	@size build/size.o | awk 'NR == 2 { printf "code at -Os: %d bytes (promised: at most %d)\n", \
	    $$1, 100 * 1024; exit $$1 > 100 * 1024 }'

# help - this list
help:
	@awk '/^# [a-z_.]+ - / { split($$0, part, / - /); printf "  make %-10s %s\n", \
	    substr(part[1], 3), substr($$0, length(part[1]) + 4) }' Makefile

# clean - remove build/
clean:
	rm -rf build

.PHONY: all run test debug asan ubsan tsan modules bench sim scoreboard soak mutants verify tidy
.PHONY: warnings symbols size help clean FORCE
.DELETE_ON_ERROR:

# ---- How things are built ----

# Holds the command line; it changes, and everything is compiled again, when that does.
$(B)/flags: FORCE
	@mkdir -p $(B)/examples
	@echo '$(subst ','\'',$(compile) $(link))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(compile) $(link))' >$@

$(B)/jobq.o: jobq.c $(B)/flags
	$(show) $(compile) $(depend) -c $< -o $@

$(B)/%.o: amalgamation/%.c $(B)/flags
	$(show) $(compile) $(depend) -c $< -o $@

$(B)/modules.h: amalgamation/MANIFEST $(B)/flags
	@printf '#include "%s"\n' $(headers) >$@

$(B)/unit_%: tests/unit/%.c $(unit_needs) $(unit_library) $(sqlite_object) $(B)/flags
	$(show) $(compile) $(depend) $< $(unit_library) -o $@ $(link)

$(B)/examples/%: examples/%.c $(library) $(sqlite_object)
	$(show) $(compile) $(depend) $< $(library) -o $@ $(link)

build/bench/bench: $(wildcard tests/bench/*.[ch]) $(library) $(sqlite_object)
	@mkdir -p $(@D)
	$(show) $(compile) -I. $(filter %.c,$^) $(library) -o $@ $(link) -lm

define rule_of_kind
$$(B)/$(1)_%: tests/$(1)/%.c $$(library) $$(sqlite_object)
	$$(show) $$(compile) $$(depend) $$< $$(library) -o $$@ $$(link)
endef
$(foreach kind,$(filter-out unit,$(kinds)),$(eval $(call rule_of_kind,$(kind))))

build/sqlite/%.o: $(if $(sqlite_object),$(sqlite_dir)/sqlite3.c)
	@mkdir -p $(@D)
	$(show) $(CC) -O2 -g -pthread -DSQLITE_THREADSAFE=1 -DSQLITE_OMIT_LOAD_EXTENSION \
	    $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@

-include $(wildcard $(B)/*.d $(B)/*/*.d)
