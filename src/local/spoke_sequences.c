/*
 * spoke_sequences.c
 *	  The sequences that the keys of a linked source's tables are drawn from.
 *
 * A sequence whose values others draw meanwhile must not be set back by us: so it is locked
 * as ALTER SEQUENCE does, but without waiting, as whoever comes after us would wait, too.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/int.h"
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

/* As the catalogs have it. */
typedef struct Sequence
{
	bool		drawn_from;
	int64		last;			/* drawn */
	int64		start;
	int64		increment;
	int64		max;
} Sequence;

static int64
number_at(int column, bool *known)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	*known = !isnull;
	return isnull ? 0 : DatumGetInt64(value);
}

static bool
read_sequence(Oid sequence, Sequence *s)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(sequence)};
	bool		known;

	if (SPI_execute_with_args("SELECT pg_catalog.pg_sequence_last_value($1), s.seqstart, s.seqincrement, s.seqmax "
							  "FROM pg_catalog.pg_sequence s WHERE s.seqrelid OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "sequence %u could not be read", sequence);
	if (SPI_processed != 1)
		return false;
	s->last = number_at(1, &s->drawn_from);
	s->start = number_at(2, &known);
	s->increment = number_at(3, &known);
	s->max = number_at(4, &known);
	return true;
}

/*
 * The last key to be passed over, in steps of the increment, so that sequences which share a
 * range stay apart.  False: there is none.  Nor is the hub followed to where hardly a key is
 * left, for no row could be added here then: what is drawn twice is a record of its own.
 */
static bool
last_passed(const Sequence *s, int64 greatest, int64 *last)
{
	int64		from = s->last;
	int64		missing;

	if (s->increment <= 0 || greatest > s->max - s->max / 16 - s->increment ||
		(!s->drawn_from && pg_sub_s64_overflow(s->start, s->increment, &from)) ||
		pg_sub_s64_overflow(greatest, from, &missing) || missing <= 0)
		return false;
	*last = from + (missing / s->increment + (missing % s->increment > 0)) * s->increment;
	return true;
}

/* As the table's owner, whose default draws from it, too. */
static void
raise_sequence(Oid owner, Oid sequence, int64 greatest)
{
	Oid			types[2] = {OIDOID, INT8OID};
	Datum		values[2] = {ObjectIdGetDatum(sequence)};
	Sequence	s;
	TableCode	code;
	int64		last;

	SPI_connect();
	table_code_enter(&code, owner, TABLE_CODE_RESTRICTED);
	if (read_sequence(sequence, &s) && last_passed(&s, greatest, &last))
	{
		values[1] = Int64GetDatum(last);
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
