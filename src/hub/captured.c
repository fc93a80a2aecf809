/*
 * captured.c
 *	  Edits of relations whose entity is decided behind a link: what is to be
 *	  sent there next, and what came of it.
 *
 * Called by link/exchange.
 */
#include "postgres.h"

#include "hub/captured.h"

void
captured_cut(const char *source, int max, CapturedBatch *out)
{
	MemSet(out, 0, sizeof(CapturedBatch));
}

Jsonb *
captured_document(const char *source, const CapturedChange *captured)
{
	Change		change = {
		.entity = captured->entity,
		.external_id = captured->external_id,
		.source = source,
		.has_version = captured->has_version,
		.version = captured->version,
		.has_base = !captured->has_version,
		.base = captured->base,
		.has_updated_at = captured->has_updated_at,
		.updated_at = captured->updated_at,
		.deleted = captured->deleted,
		.fields = captured->fields,
	};

	return change_document(&change);
}

void
captured_ack(const char *source, int64 batch, const BatchFailure *failures, int nfailures)
{
}
