/*
 * altered.c
 *	  DDL that makes something of an attached relation's rows, as event triggers hear of it.
 *
 * No trigger of rows is fired where ALTER TABLE writes a table anew, and a partition may
 * come, be filled and go between two runs of maintenance.  What is noted here sync_check()
 * compares.  Any role's DDL of any table comes by here: what isn't about an attached
 * relation or its partitions costs little, and is let alone.
 */
#include "postgres.h"

#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"

#include "compat.h"
#include "local/capture_trigger.h"
#include "local/emptied.h"
#include "process/owner.h"
#include "storage/relations.h"

PG_FUNCTION_INFO_V1(syncext_altered);

/* ---------- columns whose values were written anew ---------- */

/* Does the command compute the values of a column by an expression that it names? */
static bool
is_by_expression(const AlterTableCmd *cmd)
{
	return cmd->subtype != AT_AlterColumnType || castNode(ColumnDef, cmd->def)->raw_default != NULL;
}

/* Does the command write the values of a column anew, where the table is, for this reason? */
static bool
is_rewriting(const AlterTableCmd *cmd, int reason)
{
	if (cmd->subtype == AT_AlterColumnType)
		return (reason & AT_REWRITE_COLUMN_REWRITE) != 0;
	return is_set_expression_compat(cmd) && (reason & AT_REWRITE_DEFAULT_VAL) != 0;
}

/* The names of these columns, as what stands between the brackets of ARRAY[]. */
static char *
list_columns(const AlterTableStmt *stmt, int reason, bool by_expression)
{
	StringInfoData names;

	initStringInfo(&names);
	foreach_ptr(AlterTableCmd, cmd, stmt->cmds)
	{
		if (is_rewriting(cmd, reason) && is_by_expression(cmd) == by_expression)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 quote_literal_cstr(cmd->name));
	}
	return names.data;
}

/* A table is about to be written anew; the columns are as they will be. */
static void
note_rewritten(const Node *statement)
{
	Datum		relid = DirectFunctionCall1(pg_event_trigger_table_rewrite_oid, (Datum) 0);
	int			reason = DatumGetInt32(DirectFunctionCall1(pg_event_trigger_table_rewrite_reason, (Datum) 0));
	const AlterTableStmt *stmt;
	char	   *by_type;
	char	   *by_expression;

	if (!IsA(statement, AlterTableStmt))
		return;
	stmt = (const AlterTableStmt *) statement;
	by_type = list_columns(stmt, reason, false);
	by_expression = list_columns(stmt, reason, true);
	if (*by_type != '\0' || *by_expression != '\0')
		owner_execute("SELECT syncext.note_rewritten(%u, ARRAY[%s]::pg_catalog.text[], ARRAY[%s]::pg_catalog.text[])",
					  DatumGetObjectId(relid), by_type, by_expression);
}

/* ---------- what came ---------- */

/* Most tables that are made are no partitions: they cost nothing. */
static bool
is_about_partition(const Node *statement)
{
	if (IsA(statement, CreateForeignTableStmt))
		return ((const CreateForeignTableStmt *) statement)->base.partbound != NULL;
	return !IsA(statement, CreateStmt) || ((const CreateStmt *) statement)->partbound != NULL;
}

/* Does the command make a table as a partition?  It has no rows, and its parent's triggers. */
static bool
makes_partition(const CollectedCommand *command)
{
	return command->type == SCT_Simple && command->parsetree != NULL &&
		IsA(command->parsetree, CreateStmt) &&
		((const CreateStmt *) command->parsetree)->partbound != NULL;
}

/* What the statement has made so; what is attached may have rows. */
static List *
list_made(void)
{
	MemoryContext caller = CurrentMemoryContext;
	OwnerContext as_owner;
	List	   *made = NIL;

	SPI_connect();
	owner_enter(&as_owner, 0);
	if (SPI_execute("SELECT d.objid, d.command FROM pg_catalog.pg_event_trigger_ddl_commands() d",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "the commands of a statement could not be read");
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		relid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		Datum		command = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);

		if (makes_partition((const CollectedCommand *) DatumGetPointer(command)))
			made = lappend_oid(made, DatumGetObjectId(relid));
	}
	owner_leave(&as_owner);
	SPI_finish();
	return made;
}

/*
 * A partition that comes into being captured has no row that the hub hasn't heard of: with
 * the trigger against TRUNCATE it is complete, and needs no load.
 */
static void
complete_made(void)
{
	ListCell   *lc;

	foreach(lc, list_made())
	{
		if (capture_triggers_is_captured(lfirst_oid(lc)) &&
			owner_true("SELECT true FROM pg_catalog.pg_partition_ancestors(%u) a "
					   "JOIN syncext.binding b ON b.relation = a.relid AND b.capture = 'trigger' LIMIT 1",
					   lfirst_oid(lc)))
			capture_triggers_complete_made(lfirst_oid(lc));
	}
}

Datum
syncext_altered(PG_FUNCTION_ARGS)
{
	const EventTriggerData *data = (const EventTriggerData *) fcinfo->context;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("syncext.altered() is called by event triggers alone")));
	/* our own install script's tables may not be there yet */
	if (extension_is_being_made() || !extension_is_here())
		PG_RETURN_NULL();
	if (strcmp(data->event, "table_rewrite") == 0)
		note_rewritten(data->parsetree);
	else if (strcmp(data->event, "ddl_command_start") == 0)
		emptied_look(data->parsetree);
	else if (is_about_partition(data->parsetree))
	{
		if (!IsA(data->parsetree, AlterTableStmt) && !IsA(data->parsetree, ViewStmt))
			complete_made();
		owner_execute("SELECT syncext.note_altered()");
	}
	PG_RETURN_NULL();
}
