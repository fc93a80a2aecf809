# Makefile
#	  Builds, installs and tests syncext.
#
# As for any extension: make && make install && make installcheck, with
# PG_CONFIG=/path/to/pg_config for another server than the one on the PATH.
#
# On a machine that has nothing but make, these install what is missing:
#	  make test		everything; TESTS="name ..." runs only those
#	  make test-matrix	the same on PostgreSQL 15, 17 and 18; as root
#	  make torture	the change feed under everything at once, own keys, then links and hubs under
#					what operators do, for longer than make test does;
#					TORTURE_SECONDS=n for how long each
#	  make fuzz		statements by chance, and a hub that lies, for FUZZ_SECONDS (120);
#					SANITIZE=yes or ASSERTS=yes: on a server that notices more
#	  make docs-check	the examples of README.md and doc/ say what is printed there
#	  make docs		writes into them what they say now, and the tables' columns
#	  make demo		the sync hub at work, step by step
#	  make bench	speed against PL/pgSQL and against bare SQL
# And for work on the code:
#	  make lint				who may include what, and more
#	  make typedefs			writes src/typedefs.list, for pgindent
#	  make format			lays src/ out by .clang-format
#	  make sanitize			the tests under Address- and UndefinedBehaviorSanitizer
#	  make asserts			the tests on a server that checks its own assumptions
#	  make coverage			the tests, then how much of each file they reached
#	  make prove_installcheck	the TAP tests of an installed syncext; not as root
# WERROR=yes makes every warning an error.

.DEFAULT_GOAL := all

EXTENSION = syncext
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" syncext.control)
MODULE_big = syncext
PGFILEDESC = "syncext - a sync hub inside PostgreSQL"

OBJS := $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA_built = syncext--$(EXTVERSION).sql

PG_CPPFLAGS = -I$(srcdir)/src
# The server's headers have inline functions that leave parameters unused.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -MMD -MP
ifeq ($(WERROR),yes)
PG_CFLAGS += -Werror
endif

# Links to other servers are the only user of libpq.
ifneq ($(wildcard src/link/*.c),)
PG_CPPFLAGS += -I$(libpq_srcdir)
SHLIB_LINK_INTERNAL = $(libpq)
endif

# pg_regress on sql/ and expected/; isolation specs on test/specs and
# test/expected; TAP, by prove_installcheck, on test/t.
REGRESS := $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION := $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test
PROVE_TESTS = test/t/*.pl

EXTRA_CLEAN = syncext--*.sql src/storage/shapes.inc $(OBJS:.o=.d) .built-for test/output tmp_check \
	results regression.diffs regression.out output_iso

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)

# Bitcode for JIT needs the LLVM that the server was built with; machines that
# lack it do without.
pgxs_global := $(dir $(PGXS))../Makefile.global
pgxs_value = $(shell sed -n 's/^$(1)[ 	]*=[ 	]*//p' $(pgxs_global))
ifeq ($(shell command -v $(firstword $(call pgxs_value,CLANG) none)),)
override with_llvm = no
else ifeq ($(wildcard $(call pgxs_value,LLVM_BINPATH)/llvm-lto),)
override with_llvm = no
endif

include $(PGXS)

# An object is older than the header that it includes, the compiler flags or
# the server that it is built for: it is built again.
-include $(OBJS:.o=.d)
built_for = $(shell $(PG_CONFIG) --version) $(includedir_server) $(CFLAGS)
$(OBJS): .built-for

# What the tables look like, for the code that reads them.
src/storage/shapes.inc: src/shapes.awk $(wildcard src/sql/*.sql)
	cat $(sort $(wildcard src/sql/*.sql)) | LC_ALL=C awk -f src/shapes.awk > $@.new && mv $@.new $@
$(OBJS) $(OBJS:.o=.bc): src/storage/shapes.inc
.built-for: FORCE
	@echo '$(built_for)' | cmp -s - $@ || echo '$(built_for)' >$@
.PHONY: FORCE
$(OBJS:.o=.bc): %.bc: %.o

# src/sql itself is named because a part that was removed is newer nowhere else.
$(DATA_built): $(sort $(wildcard src/sql/*.sql)) src/sql syncext.control Makefile
	{ printf '%s\n' '\echo Use "CREATE EXTENSION syncext" to load this file. \quit'; \
	cat $(filter src/sql/%.sql,$^); } >$@.new
	mv $@.new $@

.PHONY: prove_installcheck
prove_installcheck:
	$(prove_installcheck)

else

.PHONY: all install uninstall installcheck prove_installcheck clean
all install uninstall installcheck prove_installcheck clean:
	@echo "$(PG_CONFIG) knows no server to build for: install the server's" \
		"development package (Debian: postgresql-server-dev-15)" \
		"or name another with PG_CONFIG=/path/to/pg_config" >&2; exit 1

endif

.PHONY: test test-matrix torture fuzz docs-check docs demo bench lint typedefs format sanitize asserts coverage
test:
	@bash test/run

test-matrix:
	@bash test/matrix

# The test also breaks the feed on purpose and drains: about a minute more.
TORTURE_SECONDS ?= 100
torture:
	@DICE=thrown TORTURE_SECONDS=$(TORTURE_SECONDS) OPERATIONS_SECONDS=$(TORTURE_SECONDS) \
		TEST_SECONDS=$$(($(TORTURE_SECONDS) * 6 + 900)) TESTS="040_torture 075_own_keys 090_operations" bash test/run

FUZZ_SECONDS ?= 120
fuzz:
	@DICE=thrown FUZZ_SECONDS=$(FUZZ_SECONDS) LYING_SECONDS=$(FUZZ_SECONDS) \
		TEST_SECONDS=$$(($(FUZZ_SECONDS) * 3 + 600)) \
		TESTS="fuzz $(patsubst test/t/%.pl,%,$(wildcard test/t/*_lying_hub.pl))" \
		bash $(if $(filter yes,$(ASSERTS)),test/asserts,test/run $(if $(filter yes,$(SANITIZE)),sanitize))

docs-check:
	@TESTS=docs bash test/run

docs:
	@DOCS_ACCEPT=yes TESTS=docs bash test/run

demo:
	@bash test/demo

bench:
	@bash test/bench/run

lint:
	@perl test/lint

typedefs:
	@perl test/lint --typedefs

format:
	@test/format $(wildcard src/*.[ch] src/*/*.[ch])

sanitize:
	@bash test/run sanitize

asserts:
	@bash test/asserts

coverage:
	@bash test/run coverage
