/*
 * batch_retry.c
 *	  What a target could not take, or can't yet: how it is kept in syncext.pending, and when
 *	  it comes into a batch again.
 *
 * The caller has locked the cursor.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/batch_retry.h"
#include "model/clip.h"
#include "process/stat.h"

/* When a record that was busy comes again, in milliseconds. */
#define BUSY_DELAY			1000
/* Of records that were put off so many are looked at for each acknowledgement; the others are
 * due by themselves. */
#define MAX_RECALLED		1000

/*
 * Records that turn up while they are pending: they will be delivered as they
 * are then.  A newer row version brings a dead one back.
 */
void
batch_raise_deferred(Feed *feed)
{
	for (int i = 0; i < feed->nrecords; i++)
	{
		const BatchRecord *record = &feed->records[i];
		bool		newer;
		Pending		p;

		if (!record->deferred ||
			!pending_find(feed->pending, record->entity, record->external_id, &p))
			continue;
		newer = record->row_version > p.row_version;
		if (!newer && (p.correction || !record->correction))
			continue;
		if (newer && attempt_is_dead(&p.attempt))
			attempt_revive(&p.attempt, feed->now);
		p.row_version = Max(p.row_version, record->row_version);
		p.correction |= record->correction;
		pending_save(feed->pending, &p);
	}
}

/* Make a pending record a member of the batch. */
void
batch_add_retry(Feed *feed, const Pending *pending)
{
	RecordSetKey key = record_set_key(&feed->key, cstring_to_text(pending->entity),
									  cstring_to_text(pending->external_id));
	RecordSetEntry *member = record_set_add(feed->members, key);
	BatchRecord *record = member->number == 0 ? batch_append(feed, member) :
		&feed->records[member->number - 1];

	if (record->deferred)
		feed->ndeferred--;
	record->deferred = false;
	record->retry = true;
	record->row_version = Max(record->row_version, pending->row_version);
	record->correction |= pending->correction;
	record->attempts = pending->attempt.attempts;
}

/* Fill the batch up to max with records whose next attempt is due. */
void
batch_take_retries(Feed *feed, int max)
{
	List	   *due = pending_due(feed->pending, feed->consumer, feed->now, max - batch_size(feed));

	feed->cursor.batch_retries = 0;
	foreach_ptr(Pending, p, due)
	{
		if (!source_gets_entity(feed->target, p->entity))
		{
			pending_delete(feed->pending, p->entity, p->external_id);
			continue;
		}
		p->batch = feed->cursor.batch;
		pending_save(feed->pending, p);
		batch_add_retry(feed, p);
		feed->cursor.batch_retries++;
	}
}

/* The record's row in pending, as it is or new, with what failed. */
static void
make_pending(Feed *feed, const BatchRecord *record, const char *error, Pending *p)
{
	if (!pending_find(feed->pending, record->entity, record->external_id, p))
	{
		MemSet(p, 0, sizeof(Pending));
		p->entity = record->entity;
		p->external_id = record->external_id;
		p->since = feed->now;
	}
	p->row_version = Max(p->row_version, record->row_version);
	p->correction |= record->correction;
	p->batch = 0;
	p->put_off = false;
	p->attempt.error = error;
}

void
batch_set_aside(Feed *feed, BatchRecord *record, const char *error)
{
	Pending		p;

	make_pending(feed, record, error, &p);
	p.attempt.attempts++;
	attempt_kill(&p.attempt, feed->now);
	pending_save(feed->pending, &p);
	stat_target(feed->target->name, STAT_DEAD, 1);
	record->deferred = true;
	record->retry = false;
	feed->ndeferred++;
}

void
batch_put_off(Feed *feed, BatchRecord *record, const RecordKey *parent)
{
	Pending		p;

	make_pending(feed, record,
				 psprintf("waits for its parent: the source has said no key of %s %s", parent->entity,
						  clip_string(parent->external_id, CLIP_QUOTE)), &p);
	p.put_off = true;
	attempt_recall(&p.attempt, attempt_backoff(feed->now, 1));
	pending_save(feed->pending, &p);
	record->deferred = true;
	record->retry = false;
	feed->ndeferred++;
}

void
batch_send_again(Feed *feed, const RecordKey *record)
{
	const BatchRecord again = {.entity = record->entity, .external_id = record->external_id};
	Pending		p;

	make_pending(feed, &again, "waits for its parent: itself", &p);
	p.put_off = true;
	attempt_recall(&p.attempt, feed->now);
	pending_save(feed->pending, &p);
}

void
batch_recall_put_off(Feed *feed)
{
	List	   *waiting = pending_due(feed->pending, feed->consumer, DT_NOEND - 1, MAX_RECALLED);

	foreach_ptr(Pending, p, waiting)
	{
		if (!p->put_off)
			continue;
		attempt_recall(&p->attempt, feed->now);
		pending_save(feed->pending, p);
	}
}

void
batch_store_failure(Feed *feed, const BatchRecord *record)
{
	const BatchFailure *failure = record->failure;
	Pending		p;

	make_pending(feed, record, failure->error, &p);
	if (!failure->busy)
	{
		attempt_failed(&p.attempt, feed->now, feed->target->retry_cap);
		stat_target(feed->target->name, STAT_FAILED, 1);
		stat_target(feed->target->name, STAT_DEAD, attempt_is_dead(&p.attempt) ? 1 : 0);
	}
	else if (!attempt_is_dead(&p.attempt))
		p.attempt.next_attempt = TimestampTzPlusMilliseconds(feed->now, BUSY_DELAY);
	/* sync_check tells of what waits for long */
	p.put_off = failure->busy && failure->waits;
	pending_save(feed->pending, &p);
}
