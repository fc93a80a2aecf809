/*
 * spoke_keys.c
 *	  Rows behind a link that refer to rows of tables which draw their keys.
 *
 * The crosswalk is at the spoke, which draws the external ids of what is born in its tables,
 * too: so what is made while the hub is away has its name at once, and may be referred to.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "hub/key_references.h"
#include "hub/own_keys.h"
#include "local/spoke_keys.h"

/*
 * The row that has the key wasn't met yet: it comes later in the transaction, or was there
 * before its table was attached, and is not loaded.  Deliveries don't go to the key before.
 */
static const char *
reserve(void *arg, const SourceKey *key)
{
	SourceKeys *keys = arg;
	SourceKey	found = *key;
	bool		added = false;

	while (!mapped_find(keys, &found) && !added)
	{
		CHECK_FOR_INTERRUPTS();
		found.external_id = own_keys_new_id();
		found.duplicate = true;
		found.gone_batch = 0;
		added = source_key_add(keys, &found);
	}
	return found.external_id;
}

void
spoke_keys_translate(const Attached *attached, Fields *fields)
{
	const Registry *registry = registry_get();
	Change		change = {
		.entity = attached->binding->entity,
		.source = attached->binding->source,
		.fields = *fields
	};
	ApplyItem	item;
	SourceKeys *keys;

	if (!registry->any_keyed || fields->n == 0)
		return;
	item = apply_item(registry, &change);
	if (!key_references_any(item.source, item.entity))
		return;
	keys = mapped_open(&source_key_def, true);
	key_references_read(keys, &item, &change, reserve, keys);
	mapped_close(keys);
	*fields = change.fields;
}
