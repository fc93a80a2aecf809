/*
 * floor.h
 *	  Row versions of records that are forgotten: table syncext.entity_floor.
 */
#ifndef SYNCEXT_FLOOR_H
#define SYNCEXT_FLOOR_H

typedef struct Floors Floors;

/* Open the table for as long as context lives, whatever subtransactions end. */
extern Floors *floors_open(MemoryContext context);
extern void floors_close(Floors *floors);
/*
 * The highest row version that a record of the entity had which isn't there any
 * more, as of now in every isolation level; 0: none.
 */
extern int64 floors_find(Floors *floors, const char *entity);

#endif							/* SYNCEXT_FLOOR_H */
