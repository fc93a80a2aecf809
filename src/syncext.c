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
#include "local/table_code.h"
#include "settings.h"
#include "storage/durability.h"
#include "storage/wake.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

int			setting_max_document = 1024;
int			setting_max_fields = 1000;
int			setting_max_depth = 100;
int			setting_max_record = 16 * 1024;
int			setting_max_record_fields = 10000;
double		setting_max_version_step = 1e16;
int			setting_max_conflicts = 100;
int			setting_max_parked = 10000;
int			setting_max_batch = 10000;
char	   *setting_inbound = NULL;
int			setting_lock_timeout = 500;
int			setting_poll_overlap = 300;
int			setting_poll_batch = 1000;
int			setting_poll_delete_limit = 50;
int			setting_max_records = 10000;
int			setting_lease = 60;
int			setting_retry_base = 30 * 1000;
int			setting_retry_max = 3600 * 1000;
int			setting_max_clock_skew = 300;
int			setting_link_batch = 2000;
int			setting_link_batch_bytes = 8 * 1024 * 1024;
int			setting_link_timeout = 30;
int			setting_link_interval = 30;
int			setting_notify_interval = 2;
int			setting_retention = 30 * 86400;
int			setting_maintain_lock_timeout = 500;
int			setting_waiting_retry = 30000;
int			setting_waiting_max = 86400;

static void
define_limits(void)
{
	DefineCustomIntVariable("syncext.max_document",
							"Size of one change document at most.",
							"A larger document is refused.",
							&setting_max_document, 1024, 1, 1024 * 1024,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_fields",
							"Number of fields in one change document at most.",
							NULL,
							&setting_max_fields, 1000, 1, 100000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_depth",
							"Levels of nesting in one change document at most.",
							NULL,
							&setting_max_depth, 100, 2, 1000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_batch",
							"Number of change documents in one sync_apply at most.",
							NULL,
							&setting_max_batch, 10000, 1, INT_MAX / 1024,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

/* What many documents may add up to. */
static void
define_record_limits(void)
{
	DefineCustomIntVariable("syncext.max_record",
							"Size of the fields of one record at most.",
							"A change that would make it larger is refused.",
							&setting_max_record, 16 * 1024, 1, 128 * 1024,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_record_fields",
							"Number of fields of one record at most.",
							"A change that would make it more is refused.",
							&setting_max_record_fields, 10000, 1, 1000000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("syncext.max_version_step",
							 "How far above the record's version that of a change may be.",
							 "A change further above is refused, or all that come after it would be stale; 0: any version is taken.",
							 &setting_max_version_step, 1e16, 0, 9e18,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_conflicts",
							"Number of a source's conflicts on one record that may wait for a decision.",
							"A change that would add another one is refused.",
							&setting_max_conflicts, 100, 1, 100000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.max_parked",
							"Number of a source's parked changes of one record, or for one parent, at most.",
							"A change that would have to wait, too, is refused.",
							&setting_max_parked, 10000, 1, 10000000,
							PGC_SUSET, 0, NULL, NULL, NULL);
}

static void
define_waiting(void)
{
	DefineCustomIntVariable("syncext.waiting_retry",
							"Time until a parked change looks for its parent again, the first time.",
							"It doubles with each attempt; the parent's arrival doesn't wait for it.",
							&setting_waiting_retry, 30000, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.waiting_max",
							"Time after which a parked change is a dead letter.",
							"Its parent's arrival or sync_redrive still revives it.",
							&setting_waiting_max, 86400, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_feed(void)
{
	DefineCustomIntVariable("syncext.max_records",
							"Number of records that one sync_pull may ask for.",
							NULL,
							&setting_max_records, 10000, 1, 1000000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.lease",
							"How long a batch that was pulled is left to its consumer.",
							"Until it is acknowledged or the lease ends, the same batch comes again.",
							&setting_lease, 60, 1, 24 * 3600,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.retry_base",
							"Time until a delivery that failed once is tried again.",
							"It doubles with each failure, and is spread by half of itself either way.",
							&setting_retry_base, 30 * 1000, 1, 24 * 3600 * 1000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.retry_max",
							"Longest time until a failed delivery is tried again.",
							NULL,
							&setting_retry_max, 3600 * 1000, 1, 7 * 24 * 3600 * 1000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_local(void)
{
	DefineCustomStringVariable("syncext.inbound",
							   "Whose edits of attached tables are deliveries, and not captured.",
							   "\"on\": all; a relation's OID, a colon and an external id: that row's; otherwise none.",
							   &setting_inbound, "",
							   PGC_SUSET, 0, inbound_check, NULL, NULL);
	DefineCustomIntVariable("syncext.lock_timeout",
							"How long delivery waits for rows that others hold, in all.",
							"Then the record is handed back, and comes again later.",
							&setting_lock_timeout, 500, 1, 60 * 1000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_poll(void)
{
	DefineCustomIntVariable("syncext.poll_overlap",
							"How far behind the watermark a poll begins to read.",
							"As long as the source's transactions may take: they commit rows that are older than others seen before.",
							&setting_poll_overlap, 300, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.poll_batch",
							"Number of rows that a poll takes in one transaction.",
							NULL,
							&setting_poll_batch, 1000, 1, 100000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.poll_delete_limit",
							"Percentage of a polled relation's rows that may vanish at once.",
							"If more have, and more than 10, a full compare deletes none.",
							&setting_poll_delete_limit, 50, 0, 100,
							PGC_USERSET, 0, NULL, NULL, NULL);
}

static void
define_clock(void)
{
	DefineCustomIntVariable("syncext.max_clock_skew",
							"How far a source's clock may be ahead of the hub's.",
							"A change whose updatedAt lies further ahead counts as made now; -1: every clock is believed.",
							&setting_max_clock_skew, 300, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_maintenance(void)
{
	DefineCustomIntVariable("syncext.retention",
							"How long the change log, closed conflicts and tombstones are kept.",
							"sync_maintain removes them then; a target that is further behind gets all records again.",
							&setting_retention, 30 * 86400, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.maintain_lock_timeout",
							"How long sync_maintain waits for what others hold.",
							"Then it leaves that for another time.",
							&setting_maintain_lock_timeout, 500, 1, 60 * 1000,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_link(void)
{
	DefineCustomIntVariable("syncext.link_batch",
							"Number of changes or records that a link sends at once.",
							"Fewer where they are large.",
							&setting_link_batch, 2000, 1, 10000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.link_batch_bytes",
							"How large a batch is, in bytes, that a link sends or asks for at once.",
							"A record that is larger by itself goes alone. A link needs a few times that memory, here and at its hub.",
							&setting_link_batch_bytes, 8 * 1024 * 1024, LINK_BATCH_BYTES_MIN,
							LINK_BATCH_BYTES_MAX,
							PGC_USERSET, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.link_timeout",
							"How long a link waits for its hub, to connect and for each answer.",
							"Then it closes the connection, and tries again later.",
							&setting_link_timeout, 30, 1, 3600,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_workers(void)
{
	DefineCustomIntVariable("syncext.link_interval",
							"Time between two exchanges of a link when there seems to be nothing to exchange.",
							"An edit here or at the hub doesn't wait for it.",
							&setting_link_interval, 30, 1, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("syncext.notify_interval",
							"Time between two notifications of the links at least.",
							"All that is committed meanwhile is told of by one.",
							&setting_notify_interval, 2, 0, 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_limits();
	define_record_limits();
	define_feed();
	define_waiting();
	define_local();
	define_poll();
	define_clock();
	define_maintenance();
	define_link();
	define_workers();
	MarkGUCPrefixReserved("syncext");
	/* callbacks run in reverse order: workers are woken before a late flush */
	durability_init();
	wake_init();
	table_code_init();
	launcher_register();
}
