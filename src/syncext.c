/*
 * syncext.c
 *	  Loading the library: its configuration parameters.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "settings.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

int			setting_max_document = 1024;
int			setting_max_fields = 1000;
int			setting_max_batch = 10000;
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
	DefineCustomIntVariable("syncext.max_batch",
							"Number of change documents in one sync_apply at most.",
							NULL,
							&setting_max_batch, 10000, 1, INT_MAX / 1024,
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

void
_PG_init(void)
{
	define_limits();
	define_waiting();
	MarkGUCPrefixReserved("syncext");
}
