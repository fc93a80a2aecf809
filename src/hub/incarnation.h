/*
 * incarnation.h
 *	  Whether the feed's transaction ids are this cluster's, and a new start
 *	  where they aren't.
 */
#ifndef SYNCEXT_INCARNATION_H
#define SYNCEXT_INCARNATION_H

/*
 * If the database was restored from a dump: set aside what the log and the
 * ticks say in another cluster's transaction ids, and let every target walk
 * through the golden records.  Returns whether it did.  Costs nothing once it
 * was found that all is well.  READ COMMITTED only.
 */
extern bool incarnation_check(void);
/*
 * Was it restored, and no pull has begun the feed anew yet?  Then what was handed
 * out is void.  Writes nothing, costs as little.
 */
extern bool incarnation_is_over(void);
/*
 * Note that the database may have gone back in time, as the other end of a link tells.
 * In an OwnerContext.
 */
extern void incarnation_begin_epoch(const char *reason);

#endif							/* SYNCEXT_INCARNATION_H */
