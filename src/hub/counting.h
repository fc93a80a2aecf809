/*
 * counting.h
 *	  Increments of a spoke's tables: what its totals have more than is known.
 */
#ifndef SYNCEXT_COUNTING_H
#define SYNCEXT_COUNTING_H

#include "model/counts.h"
#include "model/change.h"
#include "model/field_rule.h"

/*
 * Give the change the increments that its totals come to, since those that were taken
 * before; *known is what is known with them.  False, and *error: that can't be.
 */
extern bool counting_take(const FieldRules *rules, Change *change, Counts *known,
						  ChangeError *error);
/* The change was decided: its totals are known. */
extern void counting_keep(const Change *change, const Counts *known);

#endif							/* SYNCEXT_COUNTING_H */
