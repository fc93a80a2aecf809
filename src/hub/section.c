/*
 * section.c
 *	  Working on syncext's own tables with SQL statements, as their owner.
 *
 * Called by maintenance and by what starts a new incarnation: work on whole
 * tables, rare, and by callers who have no rights on the tables themselves.
 * What runs at every change goes through storage/rows instead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "hub/section.h"
#include "storage/registry.h"

/* ---------- who and how ---------- */

static void
set_for_section(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

/*
 * In a restricted operation the server refuses what would outlive the section
 * and run as who is in charge then: triggers that wait for the commit, cursors
 * WITH HOLD, another role.
 */
void
section_enter(Section *section, int lock_timeout)
{
	section->nest_level = NewGUCNestLevel();
	set_for_section("search_path", "pg_catalog, pg_temp");
	if (lock_timeout > 0)
		set_for_section("lock_timeout", psprintf("%dms", lock_timeout));
	GetUserIdAndSecContext(&section->user, &section->security);
	SetUserIdAndSecContext(registry_owner(), section->security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
}

void
section_leave(Section *section)
{
	SetUserIdAndSecContext(section->user, section->security);
	AtEOXact_GUC(true, section->nest_level);
}

/* ---------- statements ---------- */

static void pg_attribute_printf(1, 0)
execute(const char *format, va_list args)
{
	StringInfoData statement;
	int			code;

	initStringInfo(&statement);
	for (;;)
	{
		va_list		copy;
		int			needed;

		va_copy(copy, args);
		needed = appendStringInfoVA(&statement, format, copy);
		va_end(copy);
		if (needed == 0)
			break;
		enlargeStringInfo(&statement, needed);
	}
	code = SPI_execute(statement.data, false, 0);
	if (code < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(code), statement.data);
	pfree(statement.data);
}

uint64
section_run(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	execute(format, args);
	va_end(args);
	return SPI_processed;
}

/* A row's first column, in context; NULL if it is null or there is no such row. */
static char *
first_column(MemoryContext context, uint64 row)
{
	char	   *value;

	if (row >= SPI_processed)
		return NULL;
	value = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1);
	return value == NULL ? NULL : MemoryContextStrdup(context, value);
}

char *
section_text(MemoryContext context, const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	execute(format, args);
	va_end(args);
	text = first_column(context, 0);
	SPI_freetuptable(SPI_tuptable);
	return text;
}

int64
section_number(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	execute(format, args);
	va_end(args);
	text = first_column(CurrentMemoryContext, 0);
	SPI_freetuptable(SPI_tuptable);
	return text == NULL ? 0 : strtoi64(text, NULL, 10);
}

bool
section_true(const char *format,...)
{
	va_list		args;
	char	   *text;

	va_start(args, format);
	execute(format, args);
	va_end(args);
	text = first_column(CurrentMemoryContext, 0);
	SPI_freetuptable(SPI_tuptable);
	return text != NULL && text[0] == 't';
}

List *
section_texts(MemoryContext context, const char *format,...)
{
	va_list		args;
	MemoryContext old;
	List	   *texts = NIL;

	va_start(args, format);
	execute(format, args);
	va_end(args);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		texts = lappend(texts, first_column(context, i));
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return texts;
}

/* ---------- locks that others hold ---------- */

bool
section_try(void (*function) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* also if it goes on: a subtransaction left open would outlive the statement */
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
