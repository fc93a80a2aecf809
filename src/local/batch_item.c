/*
 * batch_item.c
 *	  A record of an attached relation that work is to be done for.
 */
#include "postgres.h"

#include "local/batch_item.h"

void
batch_item_init(BatchItem *item, const Binding *binding, bool linked, const char *external_id)
{
	item->relation = binding->relation;
	item->source = binding->source;
	item->entity = binding->entity;
	item->linked = linked;
	item->external_id = external_id;
}

/* DETAIL shows values, and is left out. */
char *
batch_item_describe_error(const ErrorData *error)
{
	const char *message = error->message != NULL ? error->message : "unknown error";

	if (error->constraint_name != NULL && strstr(message, error->constraint_name) == NULL)
		return psprintf("%s: %s (constraint \"%s\")", unpack_sql_state(error->sqlerrcode),
						message, error->constraint_name);
	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), message);
}

const char *
batch_item_error(const BatchItem *item)
{
	if (item->closed != NULL)
		return item->closed;
	if (item->error == NULL && item->busy)
		return "another transaction holds the row";
	return item->error;
}

bool
batch_item_is_open(const BatchItem *item)
{
	return !item->relation_busy && item->closed == NULL;
}
