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

void
_PG_init(void)
{
	define_limits();
	MarkGUCPrefixReserved("syncext");
}
