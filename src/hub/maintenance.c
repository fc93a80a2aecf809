/*
 * maintenance.c
 *	  The steps of sync_maintain: a transaction each, as our tables' owner.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "hub/backfill.h"
#include "hub/maintenance.h"
#include "model/format.h"
#include "process/subxact.h"
#include "settings.h"

void
maintenance_begin(Maintenance *m)
{
	/* each statement has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	owner_enter(&m->as_owner, setting_maintain_lock_timeout);
}

void
maintenance_commit(Maintenance *m)
{
	owner_leave(&m->as_owner);
	PopActiveSnapshot();
	SPI_commit();
}

void
maintenance_waits(Maintenance *m, const char *format,...)
{
	MemoryContext old = MemoryContextSwitchTo(m->context);
	va_list		args;

	va_start(args, format);
	m->waits = lappend(m->waits, format_va(format, args));
	va_end(args);
	MemoryContextSwitchTo(old);
}

static void
start_anew(void *arg)
{
	if (registry_source(registry_get(), arg) != NULL)
		cursor_start(arg);
}

bool
maintenance_restart(Maintenance *m, const char *target)
{
	bool		done;

	maintenance_begin(m);
	done = subxact_try_lock(start_anew, unconstify(char *, target));
	maintenance_commit(m);
	if (done)
	{
		MemoryContext old = MemoryContextSwitchTo(m->context);

		m->restarted = lappend(m->restarted, pstrdup(target));
		MemoryContextSwitchTo(old);
	}
	return done;
}
