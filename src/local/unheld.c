/*
 * unheld.c
 *	  Records that were read while their rows, which weren't there, could not be held.
 *
 * A row that is there is locked before its record is read: no edit of it comes in between.
 * One that is to be inserted may be inserted by an application, too, edited and deleted
 * again, before our own insertion, which waits for that, goes through.
 */
#include "postgres.h"

#include "access/xact.h"

#include "local/unheld.h"
#include "storage/canonical.h"
#include "storage/writers.h"

struct Unheld
{
	const Binding *binding;
	Canonical  *canonical;
	RowsScan   *scan;
};

bool
unheld_may_have_moved(uint64 ended)
{
	/* where nobody has committed since, there is nothing to see; a transaction's own snapshot is older */
	return IsolationUsesXactSnapshot() || writers_ended() != ended;
}

Unheld *
unheld_begin(const Binding *binding)
{
	Unheld	   *unheld = palloc(sizeof(Unheld));

	unheld->binding = binding;
	unheld->canonical = canonical_open(false);
	canonical_see_latest(unheld->canonical);
	unheld->scan = canonical_seek_begin(unheld->canonical);
	return unheld;
}

void
unheld_check(Unheld *unheld, const char *external_id, int64 row_version)
{
	const Binding *binding = unheld->binding;
	CanonicalState state;

	if (canonical_seek(unheld->canonical, unheld->scan, binding->entity, external_id, &state) &&
		(state.row_version == row_version || strcmp(state.last_source, binding->source) != 0 ||
		 /* code of the table has, for this row */
		 TransactionIdIsCurrentTransactionId(state.written_by)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("record \"%s\" was changed while its row was inserted", external_id)));
}

void
unheld_end(Unheld *unheld)
{
	rows_scan_end(unheld->scan);
	canonical_close(unheld->canonical);
	pfree(unheld);
}

void
unheld_check_row(const RowState *p)
{
	Unheld	   *unheld;

	/* behind a link an edit that came meanwhile is older than what is remembered of the row */
	if (p->read_at == 0 || !unheld_may_have_moved(p->read_at))
		return;
	unheld = unheld_begin(p->attached->binding);
	unheld_check(unheld, p->external_id, p->record.row_version);
	unheld_end(unheld);
}
