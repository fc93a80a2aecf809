/*
 * release.c
 *	  Applying changes that have waited for their parent.
 *
 * A parent's arrival releases its children in its own transaction; but a child that
 * another transaction is parking at that very moment isn't seen by it.  Pulls and
 * maintenance release what is due, so that such a lost wake-up costs one sweep.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/key_references.h"
#include "hub/parked.h"
#include "hub/release.h"
#include "process/subxact.h"
#include "process/stat.h"
#include "settings.h"
#include "storage/parked_change.h"

/* How many parked changes a parent's arrival releases in its own transaction. */
#define RELEASED_AT_ONCE		500

/* ---------- releasing one change ---------- */

/* Read the parked document again, against today's names and ladders. */
static bool
reread(const Registry *registry, const ParkedChange *w, Change *change, ChangeError *error)
{
	/* it was let in once */
	ChangeLimits limits = {.max_fields = INT_MAX, .own = true, .parked = true};
	const Entity *entity;

	/* it was edited since */
	if (!JB_ROOT_IS_OBJECT(w->change))
		return change_not_object(error);
	if (!change_parse(&w->change->root, &limits, change, error))
		return false;
	entity = registry_entity(registry, change->entity);
	if (entity == NULL || registry_source(registry, change->source) == NULL)
		return change_error(error, ERRCODE_SYNC_UNKNOWN_NAME, NULL,
							"source \"%s\" or entity \"%s\" does not exist any more",
							change->source, change->entity);
	return ladder_check_change(entity->ladder, change, error);
}

/* When a change parked at a time is tried the n-th time; DT_NOEND: no more. */
static TimestampTz
next_attempt(TimestampTz parked_at, TimestampTz now, int attempts, int cap)
{
	int64		delay = (int64) setting_waiting_retry * 1000;

	if (attempts >= cap || now - parked_at > (int64) setting_waiting_max * USECS_PER_SEC)
		return DT_NOEND;
	for (int i = 0; i < attempts && delay < USECS_PER_DAY; i++)
		delay *= 2;
	return now + delay;
}

/* One more attempt was in vain. */
static void
count_attempt(const Registry *registry, ParkedChange *w)
{
	const Source *source = registry_source(registry, w->source);
	TimestampTz now = GetCurrentTimestamp();

	w->attempt.attempts++;
	w->attempt.next_attempt = next_attempt(w->parked_at, now, w->attempt.attempts,
										   source ? source->retry_cap : 0);
	if (attempt_is_dead(&w->attempt))
		attempt_kill(&w->attempt, now);
	w->attempt.error = psprintf("%s %s has not arrived", w->parent_entity, w->parent_id);
}

/*
 * Must the change stay parked?  Then *w says for what and until when: for another
 * parent, behind an earlier change of its record, for the transaction that holds the
 * record, or as a dead letter.
 */
static bool
stays_parked(ApplyCall *call, ParkedChange *w, Change *change, bool attempted)
{
	ChangeError error;
	RecordKey	parent;
	ApplyItem	item;
	bool		missing;

	if (!reread(call->registry, w, change, &error))
	{
		attempt_kill(&w->attempt, GetCurrentTimestamp());
		w->attempt.error = error.message;
		return true;
	}
	item = apply_item(call->registry, change);
	key_references_reread(&item, change);
	missing = references_missing(call->references, &item, &parent);
	if (missing || parked_behind(call, &item, w->id, &parent))
	{
		w->parent_entity = parent.entity;
		w->parent_id = parent.external_id;
		if (attempted && missing)
			count_attempt(call->registry, w);
		else if (attempted)
			attempt_recall(&w->attempt, GetCurrentTimestamp() + (int64) setting_waiting_retry * 1000);
		return true;
	}
	if (apply_available(call, change))
		return false;
	/* by the next sweep, the transaction that holds the record may have ended */
	attempt_recall(&w->attempt, GetCurrentTimestamp());
	return true;
}

/* The release of one parked change, tried in a subtransaction. */
typedef struct Release
{
	ParkedChange w;
	bool		attempted;
	bool		done;			/* it is parked no longer */
	List	   *arrived;		/* RecordKey: records that are new by that */
} Release;

/* Apply the change, or write back why it stays. */
static void
release_or_park(void *arg)
{
	Release    *release = arg;
	ParkedChange *w = &release->w;
	ApplyCall  *call = apply_begin(registry_get());
	Change		change;
	Answer		answer;

	release->done = !stays_parked(call, w, &change, release->attempted);
	if (!release->done)
		(void) parked_change_update(parked_table(call), w);
	else if (parked_change_take(parked_table(call), w->id))
	{
		apply_released(call, &change, &answer);
		stat_change(w->source, w->entity, STAT_RELEASED, 0, 0);
	}
	release->arrived = apply_finish(call);
}

/* Does the error say nothing of the change itself?  Then it ends the transaction. */
static bool
is_passing(int sqlerrcode)
{
	return subxact_error_passes(sqlerrcode) ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
}

static void
keep_as_dead_letter(ParkedChange *w, const char *message)
{
	ParkedChanges *waiting = mapped_open(&parked_change_def, true);

	attempt_kill(&w->attempt, GetCurrentTimestamp());
	w->attempt.error = message;
	(void) parked_change_update(waiting, w);
	mapped_close(waiting);
}

/*
 * Release one parked change in a subtransaction.  What is wrong with it, a constraint
 * that it violates for one, is kept with it: the transaction that sets it free has
 * nothing to do with it.
 */
static void
release_one(Release *release)
{
	ErrorData  *error = subxact_try(release_or_park, release);

	if (error == NULL)
		return;
	if (is_passing(error->sqlerrcode))
		ReThrowError(error);
	release->done = false;
	release->arrived = NIL;
	keep_as_dead_letter(&release->w, error->message);
}

/* ---------- releasing many ---------- */

/*
 * Parked changes that are being released: the first of those that wait for a record
 * which has arrived, or those that are due.  Released one at a time; what waits for a
 * record that arrives thereby is released before the next, so portions are a stack.
 */
typedef struct Portion
{
	struct Portion *below;
	MemoryContext context;
	RecordKey	parent;			/* entity NULL: they are due */
	int			n;				/* so many at most */
	bool		read;			/* parked is set */
	List	   *parked;			/* ParkedChange */
	int			next;			/* of them */
} Portion;

static Portion *
portion_push(Portion *below, const RecordKey *parent, int n)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext parked changes",
												  ALLOCSET_START_SMALL_SIZES);
	Portion    *portion = MemoryContextAllocZero(context, sizeof(Portion));

	portion->below = below;
	portion->context = context;
	portion->parent.entity = MemoryContextStrdup(context, parent->entity);
	portion->parent.external_id = MemoryContextStrdup(context, parent->external_id);
	portion->n = n;
	return portion;
}

/* What arrived first is released first: it comes to lie on top. */
static Portion *
portion_push_arrived(Portion *below, List *arrived)
{
	for (int i = list_length(arrived) - 1; i >= 0; i--)
		below = portion_push(below, list_nth(arrived, i), RELEASED_AT_ONCE);
	return below;
}

static void
portion_read(Portion *portion)
{
	MemoryContext old = MemoryContextSwitchTo(portion->context);
	ParkedChanges *waiting = mapped_open(&parked_change_def, false);

	portion->parked = parked_changes_for_parent(waiting, portion->parent.entity,
												portion->parent.external_id, portion->n);
	portion->read = true;
	mapped_close(waiting);
	MemoryContextSwitchTo(old);
}

/* Let a sweep go on with those that wait for the record and are not among the portion. */
static Portion *
portion_pop(Portion *portion)
{
	Portion    *below = portion->below;

	if (portion->parent.entity == NULL)
		return below;
	if (portion->parked != NIL)
	{
		ParkedChanges *waiting = mapped_open(&parked_change_def, true);

		parked_change_hand_on(waiting, portion->parent.entity, portion->parent.external_id,
							  ((ParkedChange *) llast(portion->parked))->id);
		mapped_close(waiting);
	}
	MemoryContextDelete(portion->context);
	return below;
}

/*
 * Work off a stack of portions.  Returns how many changes of the lowest are parked no
 * longer.
 */
static int
portions_release(Portion *top)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext item = AllocSetContextCreate(outer, "syncext parked change",
											   ALLOCSET_DEFAULT_SIZES);
	int			released = 0;

	while (top != NULL)
	{
		Release		release = {0};

		CHECK_FOR_INTERRUPTS();
		if (!top->read)
			portion_read(top);
		if (top->next == list_length(top->parked))
		{
			top = portion_pop(top);
			continue;
		}
		/* a copy, as what it waits for next lives no longer than the item */
		release.w = *(const ParkedChange *) list_nth(top->parked, top->next++);
		/* a change that is due has had one more attempt, if it has to wait still */
		release.attempted = top->parent.entity == NULL;
		MemoryContextSwitchTo(item);
		release_one(&release);
		MemoryContextSwitchTo(outer);
		if (top->below == NULL)
			released += release.done;
		top = portion_push_arrived(top, release.arrived);
		MemoryContextReset(item);
	}
	MemoryContextDelete(item);
	return released;
}

/* A first load has many that arrive, and nothing that waits. */
static bool
any_parked(void)
{
	ParkedChanges *waiting = mapped_open(&parked_change_def, false);
	bool		any = parked_changes_any(waiting);

	mapped_close(waiting);
	return any;
}

void
apply_end(ApplyCall *call)
{
	List	   *arrived = apply_finish(call);

	if (arrived != NIL && any_parked())
		(void) portions_release(portion_push_arrived(NULL, arrived));
}

void
release_waiting(const char *entity, const char *id)
{
	const RecordKey arrived = {entity, id};

	(void) portions_release(portion_push(NULL, &arrived, RELEASED_AT_ONCE));
}

/* ---------- sweeping ---------- */

static bool
has_arrived(const ParkedChange *w)
{
	const SourceKey key = {.source = w->source, .entity = w->parent_entity, .source_id = w->parent_id};
	Canonical  *canonical = canonical_open(false);
	bool		exists = canonical_exists(canonical, w->parent_entity, w->parent_id);

	canonical_close(canonical);
	return exists || (registry_get()->any_keyed && source_key_is_bound(&key));
}

/*
 * A parent's arrival releases a part of what waits for it, and lets the next one be
 * due: after that one come the others, again a part of them.
 */
int
release_due(int n)
{
	ParkedChanges *waiting = mapped_open(&parked_change_def, false);
	Portion		due = {.read = true, .parked = parked_changes_due(waiting, GetCurrentTimestamp(), n)};
	const ParkedChange *last = NULL;
	int			room = n - list_length(due.parked);
	int			released;

	mapped_close(waiting);
	released = portions_release(&due);
	foreach_ptr(const ParkedChange, w, due.parked)
	{
		const RecordKey parent = {w->parent_entity, w->parent_id};
		int			more;

		if ((last != NULL && strcmp(last->parent_id, w->parent_id) == 0 &&
			 strcmp(last->parent_entity, w->parent_entity) == 0) || !has_arrived(w))
			continue;
		more = portions_release(portion_push(NULL, &parent, Max(room, 1)));
		room -= more;
		released += more;
		last = w;
	}
	return released;
}
