/*
 * draw_key.c
 *	  Keys for rows that are delivered to a relation which draws its keys itself.
 *
 * The defaults of its key columns are evaluated as an INSERT would.  Known before the row
 * is written, the key is bound to the record by then, so that whatever the relation's own
 * triggers do to the row is the record's.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/snapmgr.h"

#include "local/draw_key.h"

AttachedRow
draw_key(Attached *attached)
{
	AttachedRow key = attached_row_make(attached);
	EState	   *estate = CreateExecutorState();
	ExprContext *context = GetPerTupleExprContext(estate);
	ListCell   *lc;

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, attached->key_defaults)
	{
		const AttachedColumn *column = &attached->keys[foreach_current_index(lc)];
		MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
		/* the owner's own functions may run while it is planned */
		ExprState  *state = ExecInitExpr(expression_planner(copyObject(lfirst(lc))), NULL);
		bool		isnull;
		Datum		value;

		MemoryContextSwitchTo(old);
		value = ExecEvalExprSwitchContext(state, context, &isnull);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("the default of key column \"%s\" of relation %s is null", column->name,
							attached->name)));
		key.isnull[column->attnum - 1] = false;
		key.values[column->attnum - 1] = value_copy(column->value, value);
	}
	PopActiveSnapshot();
	FreeExecutorState(estate);
	/* a default may have done anything */
	attached_recheck(attached);
	return key;
}
