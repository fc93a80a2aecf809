/*
 * syncext.c
 *	  Loading the library: its configuration parameters.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "link/launcher.h"
#include "local/capture.h"
#include "local/capture_scope.h"
#include "local/table_code.h"
#include "settings.h"
#include "process/durability.h"
#include "process/stat.h"
#include "process/wake.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

int			setting_max_document;
int			setting_max_fields;
int			setting_max_depth;
int			setting_max_record;
int			setting_max_record_fields;
double		setting_max_version_step = 1e16;
int			setting_max_conflicts;
int			setting_max_parked;
int			setting_max_batch;
bool		setting_track_counts = true;
char	   *setting_inbound = NULL;
int			setting_lock_timeout;
int			setting_poll_overlap;
int			setting_poll_batch;
int			setting_poll_delete_limit;
int			setting_max_records;
int			setting_lease;
int			setting_retry_base;
int			setting_retry_max;
int			setting_max_clock_skew;
int			setting_link_batch;
int			setting_link_batch_bytes;
int			setting_link_timeout;
int			setting_link_interval;
int			setting_notify_interval;
int			setting_retention;
int			setting_maintain_lock_timeout;
int			setting_waiting_retry;
int			setting_waiting_max;

/* Those that are numbers without a fraction; a variable gets its default when it is defined. */
static const struct
{
	const char *name;
	int		   *variable;
	int			initial;
	int			least;
	int			most;
	GucContext	context;
	int			unit;
	const char *what;
	const char *more;
}			numbers[] = {
	{"syncext.max_document", &setting_max_document, 1024, 1, 1024 * 1024, PGC_SUSET, GUC_UNIT_KB,
		"Sets the maximum size of a change document.",
	"A larger document is refused."},
	{"syncext.max_fields", &setting_max_fields, 1000, 1, 100000, PGC_SUSET, 0,
		"Sets the maximum number of fields in a change document.",
	NULL},
	{"syncext.max_depth", &setting_max_depth, 100, 2, 1000, PGC_SUSET, 0,
		"Sets the maximum depth of nesting in a change document.",
	NULL},
	{"syncext.max_batch", &setting_max_batch, 10000, 1, INT_MAX / 1024, PGC_SUSET, 0,
		"Sets the maximum number of change documents in a call of sync_apply.",
	NULL},
	{"syncext.max_record", &setting_max_record, 16 * 1024, 1, 128 * 1024, PGC_SUSET, GUC_UNIT_KB,
		"Sets the maximum size of a record's fields.",
	"The fields are measured as text. A change that would exceed it is refused; one that makes the record smaller is not."},
	{"syncext.max_record_fields", &setting_max_record_fields, 10000, 1, 1000000, PGC_SUSET, 0,
		"Sets the maximum number of fields of a record.",
	"A change that would exceed it is refused."},
	{"syncext.max_conflicts", &setting_max_conflicts, 100, 1, 100000, PGC_SUSET, 0,
		"Sets the maximum number of pending conflicts of a source on a record.",
	"A change that would add another conflict is refused."},
	{"syncext.max_parked", &setting_max_parked, 10000, 1, 10000000, PGC_SUSET, 0,
		"Sets the maximum number of parked changes of a source for a record or a parent.",
	"A further change that has to wait for a parent is refused."},
	{"syncext.waiting_retry", &setting_waiting_retry, 30000, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS,
		"Sets the time after which a parked change first looks for its parent again.",
	"It doubles with each attempt. The arrival of the parent applies the change at once."},
	{"syncext.waiting_max", &setting_waiting_max, 86400, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S,
		"Sets the time after which a parked change becomes a dead letter.",
	"The arrival of its parent or a call of sync_redrive still revives it."},
	{"syncext.max_records", &setting_max_records, 10000, 1, 1000000, PGC_SUSET, 0,
		"Sets the maximum number of records in a call of sync_pull.",
	NULL},
	{"syncext.lease", &setting_lease, 60, 1, 24 * 3600, PGC_USERSET, GUC_UNIT_S,
		"Sets how long a pulled batch is reserved for its consumer.",
	"Until the batch is acknowledged or its lease ends, sync_pull returns the same batch."},
	{"syncext.retry_base", &setting_retry_base, 30 * 1000, 1, 24 * 3600 * 1000, PGC_SUSET, GUC_UNIT_MS,
		"Sets the time after which a failed delivery is first retried.",
	"It doubles with each failure and is varied at random by up to half of itself."},
	{"syncext.retry_max", &setting_retry_max, 3600 * 1000, 1, 7 * 24 * 3600 * 1000, PGC_SUSET, GUC_UNIT_MS,
		"Sets the maximum time after which a failed delivery is retried.",
	NULL},
	{"syncext.lock_timeout", &setting_lock_timeout, 500, 1, 60 * 1000, PGC_USERSET, GUC_UNIT_MS,
		"Sets how long a delivery waits for locked rows in total.",
	"A record whose row is still locked is handed back and delivered later."},
	{"syncext.poll_overlap", &setting_poll_overlap, 300, 0, INT_MAX, PGC_USERSET, GUC_UNIT_S,
		"Sets how far before the watermark a poll begins to read.",
	"It should exceed the duration of the source's longest transaction, whose rows become visible later than their time says."},
	{"syncext.poll_batch", &setting_poll_batch, 1000, 1, 100000, PGC_USERSET, 0,
		"Sets the number of rows that a poll processes in a transaction.",
	NULL},
	{"syncext.poll_delete_limit", &setting_poll_delete_limit, 50, 0, 100, PGC_USERSET, 0,
		"Sets the percentage of a polled relation's rows that may be missing in a full compare.",
	"If more rows are missing, and more than 10, the full compare fails and deletes none."},
	{"syncext.max_clock_skew", &setting_max_clock_skew, 300, -1, INT_MAX, PGC_SUSET, GUC_UNIT_S,
		"Sets how far a source's clock may be ahead of the hub's.",
	"A change with a later updatedAt counts as made now. -1 accepts any time."},
	{"syncext.retention", &setting_retention, 30 * 86400, 0, INT_MAX, PGC_SUSET, GUC_UNIT_S,
		"Sets how long the change log, closed conflicts, tombstones and answers to change ids are kept.",
	"Older ones are removed by sync_maintain. A target that is further behind gets all records again."},
	{"syncext.maintain_lock_timeout", &setting_maintain_lock_timeout, 500, 1, 60 * 1000, PGC_SUSET, GUC_UNIT_MS,
		"Sets how long sync_maintain waits for a lock.",
	"What is still locked then is left to the next run."},
	{"syncext.link_batch", &setting_link_batch, 2000, 1, 10000, PGC_USERSET, 0,
		"Sets the maximum number of changes or records in a batch of a link.",
	"A batch has fewer where they are large."},
	{"syncext.link_batch_bytes", &setting_link_batch_bytes, 8 * 1024 * 1024, LINK_BATCH_BYTES_MIN, LINK_BATCH_BYTES_MAX, PGC_USERSET, GUC_UNIT_BYTE,
		"Sets the maximum size of a batch of a link.",
	"A larger record is sent alone. The link's worker and its session at the hub each need a few times that memory."},
	{"syncext.link_timeout", &setting_link_timeout, 30, 1, 3600, PGC_USERSET, GUC_UNIT_S,
		"Sets how long a link waits for its hub to connect and to answer.",
	"After that it closes the connection and tries again later."},
	{"syncext.link_interval", &setting_link_interval, 30, 1, 24 * 3600, PGC_SIGHUP, GUC_UNIT_S,
		"Sets the time between exchanges of an idle link.",
	"An edit here or at the hub starts an exchange at once."},
	{"syncext.notify_interval", &setting_notify_interval, 2, 0, 1000, PGC_SIGHUP, GUC_UNIT_MS,
		"Sets the minimum time between notifications of the links.",
	"One notification covers all commits in between."},
};

static void
define_settings(void)
{
	for (size_t i = 0; i < lengthof(numbers); i++)
		DefineCustomIntVariable(numbers[i].name, numbers[i].what, numbers[i].more,
								numbers[i].variable, numbers[i].initial, numbers[i].least,
								numbers[i].most, numbers[i].context, numbers[i].unit,
								NULL, NULL, NULL);
	DefineCustomRealVariable("syncext.max_version_step",
							 "Sets how far the version of a change may exceed the record's.",
							 "A higher version is refused, because it would make all later changes stale. Zero accepts any version.",
							 &setting_max_version_step, 1e16, 0, 9e18,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("syncext.inbound",
							   "Selects edits of attached tables that are deliveries and are not captured.",
							   "\"on\" selects all edits; a relation's OID, a colon and an external id select those of one row.",
							   &setting_inbound, "",
							   PGC_SUSET, 0, inbound_check, NULL, NULL);
	DefineCustomBoolVariable("syncext.track_counts",
							 "Counts what becomes of changes and deliveries.",
							 "What is counted is in the views syncext.stat, stat_target and stat_link.",
							 &setting_track_counts, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("syncext");
}

void
_PG_init(void)
{
	define_settings();
	/* callbacks run in reverse order: workers are woken before a late flush */
	stat_init();
	durability_init();
	wake_init();
	table_code_init();
	capture_scope_init();
	launcher_register();
}
