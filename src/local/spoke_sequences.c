/*
 * spoke_sequences.c
 *	  The sequences that the keys of a linked source's tables are drawn from.
 *
 * A sequence whose values others draw meanwhile must not be set back by us: so it is locked
 * as ALTER SEQUENCE does, but without waiting, as whoever comes after us would wait, too.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "local/attached_relation.h"
#include "local/spoke_sequences.h"
#include "local/table_code.h"
#include "model/fields.h"
#include "model/json_read.h"
#include "process/owner.h"

/* The sequence of the relation's key, where that is one column; InvalidOid: there is none. */
static Oid
sequence_of(const Binding *binding)
{
	return (Oid) owner_number("SELECT syncext.sequence_of_key(%u, %s)::bigint", binding->relation,
							  quote_literal_cstr(binding->key[0]));
}

static int64
number_at(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* In steps of its increment, so that sequences which share a range stay apart. */
static int64
raised(int64 last, int64 increment, int64 greatest)
{
	int64		missing = greatest - last;

	return last + (missing / increment + (missing % increment > 0)) * increment;
}

/* As the table's owner, whose default draws from it, too. */
static void
raise_sequence(Oid owner, Oid sequence, int64 greatest)
{
	Oid			types[2] = {OIDOID, INT8OID};
	Datum		values[2] = {ObjectIdGetDatum(sequence), Int64GetDatum(greatest)};
	TableCode	code;

	SPI_connect();
	table_code_enter(&code, owner, TABLE_CODE_RESTRICTED);
	if (SPI_execute_with_args("SELECT coalesce(pg_catalog.pg_sequence_last_value($1), "
							  "s.seqstart OPERATOR(pg_catalog.-) s.seqincrement), s.seqincrement, s.seqmax "
							  "FROM pg_catalog.pg_sequence s WHERE s.seqrelid OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "sequence %u could not be read", sequence);
	if (SPI_processed == 1 && number_at(2) > 0 && number_at(1) < greatest && greatest <= number_at(3) - number_at(2))
	{
		values[1] = Int64GetDatum(raised(number_at(1), number_at(2), greatest));
		if (SPI_execute_with_args("SELECT pg_catalog.setval($1::pg_catalog.regclass, $2)", 2, types, values,
								  NULL, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "sequence %u could not be set", sequence);
	}
	table_code_leave(&code);
	SPI_finish();
}

static bool
raise_of(const Binding *binding, int64 greatest)
{
	Oid			sequence = sequence_of(binding);

	if (!OidIsValid(sequence))
		return true;
	if (!ConditionalLockRelationOid(sequence, ShareRowExclusiveLock))
		return false;
	raise_sequence(attached_required(binding->relation, AccessShareLock)->owner, sequence, greatest);
	return true;
}

bool
spoke_sequences_raise(const char *source, const Jsonb *greatest)
{
	bool		all = true;
	const Fields known = fields_of(greatest);

	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		int64		number;

		if (binding->own_keys && binding->nkeys == 1 && binding_stands(binding) &&
			json_read_number(fields_value(&known, binding->entity), 1, PG_INT64_MAX, &number))
			all &= raise_of(binding, number);
	}
	return all;
}
