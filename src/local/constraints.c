/*
 * constraints.c
 *	  When deferrable constraints are checked, in a section and for the caller.
 *
 * The server keeps one state of SET CONSTRAINTS a transaction, which nobody can read
 * and only the end of a subtransaction that fails restores.  So the caller's own SET
 * CONSTRAINTS commands are remembered as they pass by, and are said again after a
 * section; where there was none, constraints that are initially deferred are deferred
 * again, by name.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "local/constraints.h"
#include "process/subxact.h"

/* What the caller has said in this transaction. */
typedef struct Said
{
	ConstraintsSetStmt *statement;
	SubTransactionId subxact;
} Said;

static List *said = NIL;		/* of Said *, in TopTransactionContext */

/* ---------- remembering ---------- */

static void
at_xact_end(XactEvent event, void *arg)
{
	said = NIL;
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	foreach(lc, said)
	{
		Said	   *one = lfirst(lc);

		if (one->subxact != id)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			one->subxact = parent;
		else
			said = foreach_delete_current(said, lc);
	}
}

void
constraints_note(const ConstraintsSetStmt *statement)
{
	static bool registered = false;
	MemoryContext old;
	Said	   *one;

	if (!registered)
	{
		RegisterXactCallback(at_xact_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	old = MemoryContextSwitchTo(TopTransactionContext);
	/* SET CONSTRAINTS ALL counts alone; but what it replaced may come back */
	one = palloc(sizeof(Said));
	one->statement = copyObject(unconstify(ConstraintsSetStmt *, statement));
	one->subxact = GetCurrentSubTransactionId();
	said = lappend(said, one);
	MemoryContextSwitchTo(old);
}

/* ---------- setting ---------- */

static void
set_constraints(List *names, bool deferred)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->constraints = names;
	statement->deferred = deferred;
	AfterTriggerSetState(statement);
}

void
constraints_check(void)
{
	set_constraints(NIL, false);
}

void
constraints_defer(void)
{
	set_constraints(NIL, true);
}

static bool
same_name(const RangeVar *a, const FormData_pg_constraint *b, const char *schema)
{
	return strcmp(a->relname, NameStr(b->conname)) == 0 && strcmp(a->schemaname, schema) == 0;
}

/*
 * The names of the constraints that are initially deferred.  A name that a constraint
 * which isn't has, too, stands for both, and is left out.
 */
static List *
initially_deferred(void)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	List	   *names = NIL;

	for (int pass = 1; pass <= 2; pass++)
	{
		SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
			char	   *schema;
			ListCell   *lc;

			if (form->condeferred != (pass == 1) || (pass == 2 && names == NIL))
				continue;
			schema = get_namespace_name(form->connamespace);
			if (schema == NULL)
				continue;
			if (pass == 1)
				names = lappend(names, makeRangeVar(schema, pstrdup(NameStr(form->conname)), -1));
			else
				foreach(lc, names)
					if (same_name(lfirst(lc), form, schema))
						names = foreach_delete_current(names, lc);
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return names;
}

static void
say_again(void *arg)
{
	bool		all = false;

	foreach_ptr(Said, one, said)
		all |= one->statement->constraints == NIL;
	if (!all)
	{
		List	   *names = initially_deferred();

		if (names != NIL)
			set_constraints(names, true);
	}
	foreach_ptr(Said, one, said)
		AfterTriggerSetState(one->statement);
}

/* A constraint that the caller has dropped meanwhile must not fail the call. */
void
constraints_restore(void)
{
	ErrorData  *error = subxact_try(say_again, NULL);

	if (error != NULL && error->sqlerrcode != ERRCODE_UNDEFINED_OBJECT &&
		error->sqlerrcode != ERRCODE_INVALID_SCHEMA_NAME)
		ReThrowError(error);
}
