/*
 * by_alias.h
 *	  Changes that come under the name of a record that was merged into another one.
 */
#ifndef SYNCEXT_BY_ALIAS_H
#define SYNCEXT_BY_ALIAS_H

#include "hub/apply_item.h"

/*
 * Was the record that isn't there any more merged into another one?  Then *renamed is the
 * change as it is of that.
 */
extern bool by_alias_follow(ApplyCall *call, const Change *change, Change *renamed);
/*
 * A change that refers to a record which was merged into another one refers to that:
 * returns the change itself or *renamed, whose source doesn't know yet (refers_anew).
 */
extern const Change *by_alias_refer(ApplyCall *call, const Entity *entity, const Change *change,
									Change *renamed);
/* Is the record that the change came under still a part of the one that *renamed names? */
extern bool by_alias_stands(ApplyCall *call, const Change *renamed);
/* Leave out of the change what the record that went by the merge held already. */
extern void by_alias_leave_out(int64 merge, Change *change);
/*
 * What a change that came under another name than its source gets the record by says
 * nothing of: that it be deleted, or what was known before.  Then it is decided so.
 */
extern bool by_alias_decide(const Change *change, const Record *record, Decision *d);
/* Its source is told what it has not written under the record's own name. */
extern void by_alias_tell(const ApplyItem *item, const Record *record, Decision *d);

/*
 * The source goes by the id of a record that is gone, and has a row of it: it is told that it
 * is gone, again if it was told before, at a row version above all that it knows.
 */
extern void by_alias_remind(ApplyCall *call, const ApplyItem *item, const Decision *d);

#endif							/* SYNCEXT_BY_ALIAS_H */
