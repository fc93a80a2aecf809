/*
 * consumer.h
 *	  Which of a target's parallel consumers a record belongs to.
 */
#ifndef SYNCEXT_CONSUMER_H
#define SYNCEXT_CONSUMER_H

/* More than any target has consumers; each has a row in syncext.cursor. */
#define MAX_SLOTS	256

/* One consumer of how many; {0, 1} is the only one. */
typedef struct Consumer
{
	int			number;			/* from 0 */
	int			count;			/* 0: as many as the target has */
} Consumer;

/*
 * Does the record belong to the consumer?  A hash of its name decides, which is the
 * same in every session and after pg_upgrade.  On a machine of another byte order,
 * where a dump may go, it differs; but there every target starts anew.
 */
extern bool consumer_has_record(Consumer consumer, const text *entity, const text *external_id);
/* Like consumer_has_record(), for strings. */
extern bool consumer_has(Consumer consumer, const char *entity, const char *external_id);

/* Raises 22023 if there is no such consumer, or too many. */
extern void consumer_check(Consumer consumer);

#endif							/* SYNCEXT_CONSUMER_H */
