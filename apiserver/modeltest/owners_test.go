package modeltest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// specMap is the spec itself, beside the field in it, as something to own.
const specMap = "spec."

// appears returns the groups, "labels" or "annotations", of which o has none and fields have some. Who makes such a map
// by an update owns the map itself, even when an apply has taken the last of its fields: so upstream's library keeps it.
func (o *modelObject) appears(fields map[string]string) []string {
	return slices.DeleteFunc([]string{"labels", "annotations"}, func(group string) bool {
		return has(o.fields, group) || !has(fields, group)
	})
}

// leavesNull says whether an apply that makes next of o takes the last field of a spec that somebody owns as such.
// Upstream's library then leaves null behind, which is no object: the apply is refused.
func (o *modelObject) leavesNull(next *modelObject) bool {
	_, had := o.fields["spec"]
	_, has := next.fields["spec"]
	return had && !has && len(o.owners[specMap]) > 0
}

// mayHoldNull says whether the labels of a custom resource may be stored as null: an apply that takes the last one leaves
// that behind, in upstream's library, where somebody owns the map. Nobody sees it, and the next write drops it.
func (o *modelObject) mayHoldNull() bool {
	return !has(o.fields, "labels") && len(o.owners["labels"]) > 0
}

func has(fields map[string]string, group string) bool {
	for f := range fields {
		if strings.HasPrefix(f, group+"/") {
			return true
		}
	}
	return false
}

// set makes fields those of o as an update by a manager does: who changes a field owns it, alone.
func (o *modelObject) set(fields map[string]string, by modelOwner) {
	for _, group := range o.appears(fields) {
		o.owners[group] = map[modelOwner]bool{by: true}
	}
	for _, group := range (&modelObject{fields: fields}).appears(o.fields) {
		delete(o.owners, group)
	}
	switch _, had := o.fields["spec"]; {
	case fields["spec"] == "":
		delete(o.owners, specMap)
	case !had:
		o.owners[specMap] = map[modelOwner]bool{by: true}
	}
	for f := range o.fields {
		if _, kept := fields[f]; !kept {
			delete(o.fields, f)
			delete(o.owners, f)
		}
	}
	for f, v := range fields {
		if old, had := o.fields[f]; had && old == v {
			continue
		}
		o.fields[f] = v
		o.owners[f] = map[modelOwner]bool{by: true}
	}
}

// forgetsStatus is what a PUT does whose body has no status: who owns it in another version loses it, though it stays.
// Upstream knows of a version that an update does not touch its status, and asks about the update's own version alone.
func (o *modelObject) forgetsStatus(through door) {
	owners := o.owners["status"]
	maps.DeleteFunc(owners, func(who modelOwner, _ bool) bool { return who.version != through.version })
	if len(owners) == 0 {
		delete(o.owners, "status")
	}
}

// sameApplier says whether two owners apply in the same name.
func (w modelOwner) sameApplier(by modelOwner) bool {
	return w.applied && by.applied && w.manager == by.manager && w.subresource == by.subresource
}

// applies gives what somebody has applied, through whatever door, to the same through this one.
func (o *modelObject) applies(by modelOwner) {
	for _, who := range o.owners {
		for w := range who {
			if w.sameApplier(by) {
				delete(who, w)
				who[by] = true
			}
		}
	}
}

// apply merges a server-side apply of fields; it returns the conflicts, and does nothing if there are any that are
// not forced.
func (o *modelObject) apply(fields map[string]string, by modelOwner, force bool) (conflicts []string) {
	appear := o.appears(fields)
	for _, group := range appear {
		for who := range o.owners[group] {
			conflicts = append(conflicts, fmt.Sprintf("%s of %s", group, who.manager))
		}
	}
	for f, v := range fields {
		for who := range o.owners[f] {
			if !who.sameApplier(by) && o.fields[f] != v {
				conflicts = append(conflicts, fmt.Sprintf("%s of %s", f, who.manager))
			}
		}
	}
	if len(conflicts) > 0 && !force {
		slices.Sort(conflicts)
		return conflicts
	}
	for _, group := range appear {
		delete(o.owners, group)
	}
	o.applies(by)
	for f := range o.owners {
		if _, still := fields[f]; o.owners[f][by] && !still {
			if delete(o.owners[f], by); len(o.owners[f]) == 0 { // nobody else wants it
				delete(o.owners, f)
				delete(o.fields, f)
			}
		}
	}
	for f, v := range fields {
		if old, had := o.fields[f]; !had || old != v || o.owners[f] == nil {
			o.owners[f] = map[modelOwner]bool{}
		}
		o.fields[f] = v
		o.owners[f][by] = true
	}
	return nil
}
