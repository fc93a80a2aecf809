/*
 * loaded.c
 *	  Whether a relation and the hub were brought together, and with which columns.
 *
 * Of a table that was loaded, and is captured by trigger, the hub has heard every word
 * since: a row of which it has nothing can only have lost that to others.  What a
 * column holds because it was added is no edit: syncext.binding has the columns that
 * were loaded, by name and number, as a column of the same name may come again.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"

#include "local/loaded.h"
#include "model/json.h"
#include "process/owner.h"

static Jsonb *
columns_of(const Attached *attached)
{
	JsonbParseState *state = json_begin_object();

	for (int i = 0; i < attached->ncolumns; i++)
		json_push_number(&state, attached->columns[i].name, attached->columns[i].attnum);
	return json_end_object(&state);
}

void
loaded_note(const Attached *attached)
{
	const Binding *binding = attached->binding;
	bool		known = binding->loaded != NULL;

	for (int i = 0; i < attached->ncolumns; i++)
		known &= !attached->columns[i].is_new;
	if (!known)
		binding_set_loaded(binding->relation, columns_of(attached));
}

void
loaded_note_shape(Oid relid, bool columns, bool partitions)
{
	CommandCounterIncrement();
	owner_execute("SELECT syncext.note_shape(%u, %s, %s)", relid, columns ? "true" : "false",
				  partitions ? "true" : "false");
}

bool
loaded_forget_dropped(const Attached *attached)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < attached->ncolumns; i++)
		if (attached->columns[i].is_again)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 quote_literal_cstr(field_name_cstring(attached->columns[i].field)));
	if (names.len == 0)
		return false;
	owner_execute("UPDATE syncext.replica SET fields = fields - ARRAY[%s] "
				  "WHERE relation = %u AND fields ?| ARRAY[%s]",
				  names.data, attached->binding->relation, names.data);
	return true;
}

/* Has the table, with its partitions, not a single block? */
static bool
is_empty(Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	part = table_open(lfirst_oid(lc), NoLock);
		char		relkind = part->rd_rel->relkind;
		bool		empty = relkind == RELKIND_PARTITIONED_TABLE ||
			(relkind == RELKIND_RELATION && RelationGetNumberOfBlocks(part) == 0);

		table_close(part, NoLock);
		if (!empty)
			return false;
	}
	return true;
}

void
loaded_columns(Oid relid)
{
	CommandCounterIncrement();
	loaded_note(attached_required(relid, AccessShareLock));
}

void
loaded_at_attach(Oid relid)
{
	if (is_empty(relid))
		loaded_columns(relid);
}
