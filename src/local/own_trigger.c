/*
 * own_trigger.c
 *	  Which triggers of an attached table are ours.
 *
 * The server asks whoever adds a partition for the right to execute the function of the
 * triggers that the partition gets, so everybody has it, and may make triggers of his own
 * with it.  One that fires for some edits only would lose others, and a second one would
 * capture an edit twice.  A table has no two triggers of a name: ours is the one that has
 * ours, and the shape that sync_attach gives it.
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"

#include "local/own_trigger.h"

#define CAPTURE_TYPE	(TRIGGER_TYPE_ROW | TRIGGER_TYPE_AFTER | TRIGGER_TYPE_INSERT | \
						 TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)
#define TRUNCATE_TYPE	(TRIGGER_TYPE_STATEMENT | TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_TRUNCATE)

static bool
is_named_as_typed(const Trigger *trigger)
{
	if (strcmp(trigger->tgname, CAPTURE_TRIGGER_NAME) == 0)
		return trigger->tgtype == CAPTURE_TYPE;
	return strcmp(trigger->tgname, TRUNCATE_TRIGGER_NAME) == 0 && trigger->tgtype == TRUNCATE_TYPE;
}

bool
own_trigger_is(const Trigger *trigger, Oid function)
{
	return trigger->tgfoid == function && is_named_as_typed(trigger) &&
		trigger->tgqual == NULL && trigger->tgnattr == 0 && trigger->tgnargs == 0 &&
		trigger->tgoldtable == NULL && trigger->tgnewtable == NULL &&
		!OidIsValid(trigger->tgconstraint) && !trigger->tgdeferrable;
}
