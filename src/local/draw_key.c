/*
 * draw_key.c
 *	  Keys for rows that are delivered to a relation which draws its keys itself.
 *
 * The defaults of its key columns are evaluated as an INSERT would.  Known before the row
 * is written, the key is bound to the record by then, so that whatever the relation's own
 * triggers do to the row is the record's.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "local/draw_key.h"

static bool
may_look(Oid function, void *arg)
{
	return function != F_NEXTVAL && function != F_GEN_RANDOM_UUID &&
		(function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_IMMUTABLE);
}

/* Does the expression call anything but these?  A domain has constraints. */
static bool
looks_around(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, may_look, arg))
		return true;
	return !IsA(node, NextValueExpr) && expression_tree_walker(node, looks_around, arg);
}

static void
prepare_blind(Attached *attached)
{
	MemoryContext old = MemoryContextSwitchTo(attached->context);
	ListCell   *lc;

	foreach(lc, attached->key_defaults)
		attached->key_states = lappend(attached->key_states,
									   ExecInitExpr(expression_planner(copyObject(lfirst(lc))), NULL));
	attached->key_context = CreateStandaloneExprContext();
	MemoryContextSwitchTo(old);
}

bool
draw_key_is_blind(Attached *attached)
{
	if (!attached->looked_at_defaults)
	{
		attached->looked_at_defaults = true;
		if (attached->key_defaults != NIL && !looks_around((Node *) attached->key_defaults, NULL))
			prepare_blind(attached);
	}
	return attached->key_context != NULL;
}

/* Draw a value of a column into the key. */
static void
draw_column(Attached *attached, int i, ExprState *state, ExprContext *context, AttachedRow *key)
{
	const AttachedColumn *column = &attached->keys[i];
	bool		isnull;
	Datum		value = ExecEvalExprSwitchContext(state, context, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("the default of key column \"%s\" of relation %s is null", column->name,
						attached->name)));
	key->isnull[column->attnum - 1] = false;
	key->values[column->attnum - 1] = value_copy(column->value, value);
}

static void
draw_blindly(Attached *attached, AttachedRow *key)
{
	for (int i = 0; i < attached->nkeys; i++)
		draw_column(attached, i, list_nth(attached->key_states, i), attached->key_context, key);
	ResetExprContext(attached->key_context);
}

/* The defaults may do anything, and may be anything else the next time. */
static void
draw_anew(Attached *attached, AttachedRow *key)
{
	EState	   *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);

	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < attached->nkeys; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
		Expr	   *drawn = copyObject(list_nth(attached->key_defaults, i));
		/* the owner's own functions may run while it is planned */
		ExprState  *state = ExecInitExpr(expression_planner(drawn), NULL);

		MemoryContextSwitchTo(old);
		draw_column(attached, i, state, context, key);
	}
	PopActiveSnapshot();
	FreeExecutorState(estate);
	attached_recheck(attached);
}

AttachedRow
draw_key(Attached *attached)
{
	AttachedRow key = attached_row_make(attached);

	if (draw_key_is_blind(attached))
		draw_blindly(attached, &key);
	else
		draw_anew(attached, &key);
	return key;
}
