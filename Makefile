# The promises of this tree, one target each; `make help` lists them.
#
# An application does not need this file: it compiles jobq.c with its own flags.
# CC, CXX, CPPFLAGS, CFLAGS, LDFLAGS and LDLIBS are yours and come after ours, so they win.
#
#   SQLITE_DIR=folder  the sqlite3.c and sqlite3.h in there are used (see sqlite3/README.md)
#   T=name             only the test programs with that in their names
#   N=name             and of those only the tests with that in their names
#   lanes=n            so many test programs at a time; else as many as -j says, or processors
#   variant=name       what debug, small, asan, tsan and modules set: make sim variant=asan
#   show=              the whole command lines of the compiler are printed
#   TEST_EFFORT=n      the tests that search do so n times as long; make test has 0.25
#
# One target by itself uses all processors; where several are named, -j is yours to give.
# Everything that is built goes into build/.

variant = plain
B = build/$(variant)
.DEFAULT_GOAL = all

warnings = -Wall -Wextra -Wpedantic -Wconversion -Wunused-function
slow = -DJOBQ_DEBUG -DJOBQ_TEST_SCALE=4 -DTEST_SANITIZED -fno-omit-frame-pointer
flags_plain =
flags_debug = -DJOBQ_DEBUG -DJOBQ_TEST_SCALE=4
flags_small = -DJOBQ_DEBUG -DJOBQ_SMALL -DJOBQ_TEST_SCALE=4
flags_asan = $(slow) -fsanitize=address,undefined -fno-sanitize-recover=undefined
flags_tsan = $(slow) -fsanitize=thread
flags_modules = -DJOBQ_MODULES -DJOBQ_TEST_SCALE=4

# The tests themselves are compiled fast where they run fast enough.
optimised_tests = -O$(if $(filter asan tsan,$(variant)),$(if $(filter fault_% sim_%,$(@F)),1,0),0)
our_flags = -std=c99 -O2 -g $(warnings) -pthread $(flags_$(variant)) $(sqlite_include)
compile = $(CC) $(our_flags) $(CPPFLAGS) $(CFLAGS)
compile_test = $(CC) $(our_flags) $(optimised_tests) -iquote tests/rig -iquote . \
    $(CPPFLAGS) $(CFLAGS)
link = $(LDFLAGS) $(sqlite_library) -pthread $(LDLIBS)
show = @echo '  $@';
depend = -MMD -MP -MF $@.d -MT $@

modules := $(shell sed -n 's/^\([a-z0-9_]*\.c\) .*/\1/p' amalgamation/MANIFEST)
headers := $(shell sed -n 's/^\([a-z0-9_]*\.h\) .*/\1/p' amalgamation/MANIFEST)
ifeq ($(variant),modules)
library = $(modules:%.c=$(B)/%.o)
inside = $(library)
else
library = $(B)/jobq.o
inside = $(B)/inside.o
endif

# The programs of the suite: tests/api/order.c becomes api_order. The kinds that take long come
# first, so that the others fill the lanes at the end. tests/example_* are scripts that try the
# larger examples, tests/tools one that tries the tools of this tree.
kinds = fault sim stress crash unit api header
program = $(B)/$(subst /,_,$(patsubst tests/%.c,%,$1))
# What tests/api/bits_32.c looks for cannot go wrong on 64 bits, nor what a thread sanitizer looks
# for where there is one thread: of those programs the long ones are left out.
alone = api_shrink fault_cut_jobs fault_cut_open fault_cut_migrate fault_hostile fault_sync_fails \
    sim_fence sim_life sim_model unit_reserve
tests = $(filter-out $(if $(filter m32,$(variant)),,$(B)/api_bits_32)\
    $(if $(filter tsan,$(variant)),$(alone:%=$(B)/%)),\
    $(foreach source,$(wildcard $(kinds:%=tests/%/*.c)),$(call program,$(source))))
core = bad_input change clock enqueue events inspect lifecycle open order retry stop txn wait
quick = $(core:%=$(B)/api_%) \
    $(filter-out $(B)/unit_fault_memory $(B)/unit_clock_steps,$(filter $(B)/unit_%,$(tests)))
with_figures = $(filter $(foreach source,$(shell grep -l test_figure tests/*/*.c),\
    $(call program,$(source))),$(call chosen,$(tests)))
# What is damaged is played under a sanitizer as well where one looks for long.
hostile = $(if $(filter plain,$(variant)),\
    $(call chosen,build/asan/fault_hostile))
examples = $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
compared = $(foreach e,$(examples),$(if $(wildcard $(call expected,$e)),$e))
expected = examples/expected/$(notdir $1).txt
scripts = $(filter-out %.c %.md,$(wildcard tests/example_*)) \
    $(if $(filter plain,$(variant)),$(if $(filter api,$(kinds)),tests/tools))
chosen = $(if $(T),$(foreach p,$1,$(if $(findstring $(T),$(notdir $p)),$p)),$1)

# Only a command line -j wins over this one, and it is to be seen in recipes only.
processors := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL),0)
ifeq ($(filter-out 0 1,$(words $(MAKECMDGOALS))),)
MAKEFLAGS += -j$(processors)
endif
endif

lanes = $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(processors))
effort = 0.25
run_tests = JOBQ_BUILD='$(CURDIR)/$(B)' TESTS_OF_ONE='$(N)' \
    TEST_EFFORT="$${TEST_EFFORT:-$(effort)}" \
    ASAN_OPTIONS="$${ASAN_OPTIONS:-detect_stack_use_after_return=1}" \
    UBSAN_OPTIONS="$${UBSAN_OPTIONS:-print_stacktrace=1}" \
    TSAN_OPTIONS="$${TSAN_OPTIONS:-die_after_fork=0:second_deadlock_stack=1}" \
    tests/run -j $(lanes) $(if $(run_wrapper),-w '$(run_wrapper)')
# The thread sanitizer of some compilers cannot bear how far newer kernels scatter memory.
run_wrapper = $(if $(filter tsan,$(variant)),$(shell \
    setarch -R true 2>/dev/null && echo setarch -R))
tools = CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' SQLITE_DIR='$(sqlite_dir)'

# Where SQLite comes from. `sqlite3/get` does nothing if the system's library works.
ifneq ($(filter-out ci m32 sqlites clean help tidy verify jobq.c,$(or $(MAKECMDGOALS),all)),)
sqlite_dir := $(SQLITE_DIR)
ifeq ($(sqlite_dir),)
sqlite_dir := $(shell CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' LDLIBS='$(LDLIBS)' \
    sqlite3/get || echo missing; test ! -f sqlite3/sqlite3.c || echo sqlite3)
else ifeq ($(wildcard $(sqlite_dir)/sqlite3.c),)
$(error there is no sqlite3.c in SQLITE_DIR=$(sqlite_dir))
endif
ifneq ($(filter missing,$(sqlite_dir)),)
$(error nothing can be built, see above)
endif
ifeq ($(sqlite_dir),)
sqlite_library = -lsqlite3
else
sqlite_include = -isystem $(sqlite_dir)
sqlite_library = build/sqlite/$(subst /,_,$(sqlite_dir)).o
endif
endif
sqlite_object = $(filter %.o,$(sqlite_library))

# ---- The promises ----

# all - the queue as an object file, and the examples
all: $(B)/jobq.o $(examples)

# check - the quick part, within half a minute: the modules and the core of the API
check: effort = 0.1
check: $(quick)
	@$(run_tests) $(quick)

# test - the whole suite, within three minutes on two processors; ends with "N passed, N failed"
test: $(call chosen,$(tests)) $(call chosen,$(compared)) \
    $(if $(filter tests/example_%,$(call chosen,$(scripts))),$(examples))
	@$(run_tests) $(call chosen,$(tests)) $(call chosen,$(scripts)) \
	    $(foreach example,$(call chosen,$(compared)),$(example)=$(call expected,$(example)))

# debug - the suite with the assertions inside jobq switched on
# small - the same with tiny sizes: two jobs fill the ring or a commit, four timers a wheel
# asan - the suite under the address and the undefined behaviour sanitizer, with assertions
# tsan - the suite under the thread sanitizer, with assertions
# modules - the suite against the modules compiled apart, not against jobq.c
debug small asan tsan modules: jobq.c $(sqlite_object)
	@$(MAKE) test variant=$@

# m32 - the modules and the API as programs of 32 bits, SQLite among them
# sqlites - opening and the examples on SQLite built in unusual ways
m32 sqlites:
	@CC='$(CC)' tests/builds $@

# ci - everything that has to hold before a change is merged (ARGS="steps"); .ci/run installs first
ci:
	@tests/ci $(ARGS)

# run - start the larger example on this tree: the SHA-256 of every file, as durable jobs
run: $(B)/examples/digest
	@$< $(ARGS)

# bench - build the benchmark and print its table (ARGS="rows")
bench: build/bench/bench
	@$(tools) BENCH=$< tests/bench/run $(ARGS)

# sim - lives of a simulated device, and how to see again what failed (SEED=1 N=100 LIFE=storm)
sim: $(B)/sim_life
	@SIM_SEED='$(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom))' SIM_LIVES='$(or $(N),100)' \
	    SIM_LIFE='$(LIFE)' $< lives

# scoreboard - the guarantees as figures: everything that the fault rig searches (EFFORT=1)
scoreboard: $(with_figures)
	@tests/scoreboard -e $(or $(EFFORT),1) $(if $(T),,-m) $^

# soak - the same with seed after seed for hours, until something breaks (HOURS=8 EFFORT=20)
soak: $(with_figures) $(hostile)
	@tests/scoreboard -e $(or $(EFFORT),20) -s $(or $(HOURS),8) $^

# mutants - break jobq on purpose, one defect at a time: which test notices? (ARGS="part of a name")
mutants:
	@$(tools) LDFLAGS='$(LDFLAGS)' LDLIBS='$(LDLIBS)' tests/mutants/run $(ARGS)

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

# tidy - the rules of the house: who may call what, lengths, names; do defaults, map, mutants fit?
tidy:
	@amalgamation/tidy
	@amalgamation/defaults
	@tests/mutants/run -c

# warnings - everything compiles without one, with every compiler at hand; the header as C++ too
warnings: jobq.c $(B)/modules.h
	@CC='$(CC)' MODULES_H=$(B) FLAGS='$(warnings) -pthread $(sqlite_include) $(CPPFLAGS)' \
	    tests/warnings

# symbols - jobq.o exports what jobq.h declares and nothing else; what is inside is called jobq__
symbols: jobq.c
	@CC='$(CC)' FLAGS='$(sqlite_include) $(CPPFLAGS) $(CFLAGS)' tests/symbols

# size - bytes of code as a small device builds it: for size, and without tables for C++ exceptions
size: jobq.c
	@mkdir -p build
	@$(CC) -std=c99 -Os -fno-asynchronous-unwind-tables -pthread $(sqlite_include) $(CPPFLAGS) \
	    $(CFLAGS) -c jobq.c -o build/size.o
	@size build/size.o | awk 'NR == 2 { printf "code at -Os: %d bytes (promised: at most %d)\n", \
	    $$1, 200 * 1024; exit $$1 > 200 * 1024 }'

# help - this list
help:
	@echo 'make target [name=value ...]'
	@awk '/^# [a-z0-9_.]+ - / { split($$0, part, / - /); printf "  %-17s %s\n", \
	    substr(part[1], 3), substr($$0, length(part[1]) + 4) }' Makefile
	@echo 'names'
	@awk '/^#   [A-Za-z_]+=/ { sub(/^#   /, ""); name = $$1; sub(/^[^ ]+ +/, ""); \
	    printf "  %-17s %s\n", name, $$0 }' Makefile

# clean - remove build/
clean:
	rm -rf build

.PHONY: all check test debug small asan tsan modules m32 sqlites ci run bench sim scoreboard
.PHONY: soak mutants verify tidy warnings symbols size help clean FORCE
.DELETE_ON_ERROR:

# ---- How things are built ----

# Holds the command line; it changes, and everything is compiled again, when that does.
$(B)/flags: FORCE
	@mkdir -p $(B)/examples
	@echo '$(subst ','\'',$(compile_test) $(link))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(compile_test) $(link))' >$@

$(B)/jobq.o: jobq.c $(B)/flags
	$(show) $(compile) $(depend) -c $< -o $@

# jobq.c again, with what is static in it open to the unit tests (see tests/rig/unit.h).
$(B)/inside.o: jobq.c $(B)/flags
	$(show) $(compile) -DJOBQ__INTERNAL=extern $(depend) -c $< -o $@

$(hostile): jobq.c $(sqlite_object) FORCE
	@$(MAKE) $@ variant=$(word 2,$(subst /, ,$@))

# An archive: a test that includes jobq.c itself needs nothing out of it.
$(B)/inside.a: $(inside)
	@rm -f $@
	@$(AR) rcs $@ $^

$(B)/%.o: amalgamation/%.c $(B)/flags
	$(show) $(compile) -I. $(depend) -c $< -o $@

$(B)/modules.h: amalgamation/MANIFEST $(B)/flags
	@printf '#include "%s"\n' $(headers) >$@

$(B)/unit_%: tests/unit/%.c $(B)/inside.a $(B)/modules.h $(sqlite_object)
	$(show) $(compile_test) -iquote amalgamation -I. -I$(B) $(depend) $< $(B)/inside.a -o $@ $(link)

define rule_of_kind
$$(B)/$(1)_%: tests/$(1)/%.c $$(library) $$(sqlite_object)
	$$(show) $$(compile_test) $$(depend) $$< $$(library) -o $$@ $$(link)
endef
$(foreach kind,$(filter-out unit,$(kinds)),$(eval $(call rule_of_kind,$(kind))))

$(B)/examples/%: examples/%.c $(library) $(sqlite_object)
	$(show) $(compile) $(depend) $< $(library) -o $@ $(link)

# The program of 0.1.0 that some tests need beside them (tests/fixtures), with its own jobq.c. Where
# git does not have that, it is missing, and they are skipped.
$(B)/0.1.0/program: tests/fixtures/program_0_1_0.c $(sqlite_object)
	@mkdir -p $(@D)
	@if (for file in jobq.c jobq.h; do git show $(0_1_0):$$file >$(@D)/$$file || exit 1; done) \
	    2>/dev/null; then echo '  $@'; $(CC) -std=c99 -O1 -w -pthread -I$(@D) $(sqlite_include) \
	    $(CPPFLAGS) $(CFLAGS) $< $(@D)/jobq.c -o $@ $(link); else : >$@; fi
0_1_0 = 33d6428d668ec92a1d3f2f266058c806d5d21591
$(B)/api_migrate: $(B)/0.1.0/program

build/bench/bench: $(wildcard tests/bench/*.[ch]) $(library) $(sqlite_object)
	@mkdir -p $(@D)
	$(show) $(compile) -I. $(filter %.c,$^) $(library) -o $@ $(link) -lm

build/sqlite/%.o: $(if $(sqlite_object),$(sqlite_dir)/sqlite3.c)
	@mkdir -p $(@D)
	$(show) $(CC) -O2 -g -pthread -DSQLITE_THREADSAFE=1 -DSQLITE_OMIT_LOAD_EXTENSION \
	    $(CPPFLAGS) $(CFLAGS) -w -c $< -o $@

-include $(wildcard $(B)/*.d $(B)/*/*.d)
