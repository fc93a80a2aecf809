/*
 * slot.h
 *	  Which of a target's parallel consumers a record belongs to.
 */
#ifndef SYNCEXT_SLOT_H
#define SYNCEXT_SLOT_H

/* More than any target has consumers; each has a row in syncext.cursor. */
#define MAX_SLOTS	256

/* One consumer of how many; {0, 1} is the only one. */
typedef struct Slot
{
	int			number;			/* from 0 */
	int			of;				/* 0: as many as the target has */
} Slot;

/*
 * Does the record belong to the slot?  By a hash of its name, which is the same
 * in every session and after pg_upgrade.  A dump may go to a machine of another
 * byte order, where it isn't; but there every target starts anew.
 */
extern bool slot_has_record(Slot slot, const text *entity, const text *external_id);
/* The same for strings. */
extern bool slot_has(Slot slot, const char *entity, const char *external_id);

/* Raises 22023 if there is no such slot, or too many. */
extern void slot_check(Slot slot);

#endif							/* SYNCEXT_SLOT_H */
