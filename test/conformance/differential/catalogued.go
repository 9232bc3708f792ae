package differential

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
)

var metadataPath = field.NewPath("metadata")

// catalogued does with a write what the server's pipeline does, with the catalogue alone: no admission,
// nothing that asks for other objects. The order of the steps is that of package apiserver/pipeline.
func (k *kind) catalogued(w write) outcome {
	return record(func(o *outcome) error {
		obj, err := k.decodeCatalogued(w.object)
		if err != nil {
			return err
		}
		var old api.Object
		if w.old == nil {
			err = k.create(obj)
		} else {
			if old, err = k.decodeCatalogued(w.old); err != nil {
				return err
			}
			err = k.update(w.sub, obj, old)
		}
		if err != nil {
			return err
		}
		if w.sub == "" && k.resource.Warnings != nil {
			o.warnings = k.resource.Warnings(obj, old)
		}
		return k.store(o, obj)
	})
}

// decodeCatalogued reads an object, defaults it and converts it to the storage version.
func (k *kind) decodeCatalogued(data []byte) (api.Object, error) {
	obj, err := k.decode(data)
	if err != nil {
		return nil, errors.Join(errDecode, err)
	}
	if v := k.version; v != nil {
		if v.Default != nil {
			v.Default(obj)
		}
		if obj, err = v.ToHub(obj); err != nil {
			return nil, errors.Join(errDecode, err)
		}
	}
	if k.resource.Default != nil {
		k.resource.Default(obj)
	}
	return obj, nil
}

func (k *kind) create(obj api.Object) error {
	r := k.resource
	obj.SetUID(uid)
	obj.SetCreationTimestamp(created)
	if r.PrepareCreate != nil {
		r.PrepareCreate(obj)
	}
	if r.PrepareCreateFor != nil {
		r.PrepareCreateFor(obj, writer)
	}
	own := r.ValidateCreate
	if k.version != nil && k.version.ValidateCreate != nil {
		own = k.version.ValidateCreate
	}
	var faults field.ErrorList
	if !r.MetadataLast {
		faults = apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, r.NameFaults, metadataPath)
	}
	if own != nil {
		faults = append(faults, own(obj)...)
	}
	if len(faults) == 0 {
		faults = apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, path.ValidatePathSegmentName, metadataPath)
	}
	return k.invalid(obj, faults)
}

func (k *kind) update(sub string, obj, old api.Object) error {
	prepare, own, metadata, err := k.updateRules(sub)
	if err != nil {
		return err
	}
	obj.SetGeneration(old.GetGeneration())
	if prepare != nil {
		prepare(obj, old)
	}
	keepManaged(obj, old)
	faults := apivalidation.ValidateObjectMetaAccessor(obj, k.resource.Namespaced, path.ValidatePathSegmentName, metadataPath)
	changed := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metadataPath)
	faults = append(faults, changed...)
	if own != nil {
		faults = append(append(faults, k.resource.MetadataFaults(metadata, obj, old)...), own(obj, old)...)
	}
	return k.invalid(obj, faults)
}

// updateRules returns what the catalogue says about updates of a subresource, or of the kind itself.
func (k *kind) updateRules(sub string) (prepare func(obj, old api.Object), own func(obj, old api.Object) field.ErrorList, metadata []catalogue.MetaCheck, err error) {
	r := k.resource
	switch {
	case sub == "" && k.version != nil && k.version.ValidateUpdate != nil:
		return r.PrepareUpdate, k.version.ValidateUpdate, r.Metadata, nil
	case sub == "":
		return r.PrepareUpdate, r.ValidateUpdate, r.Metadata, nil
	case sub == "status" && r.Status != nil:
		return r.Status.Prepare, r.Status.Validate, r.Status.Metadata, nil
	}
	for _, s := range r.Subresources {
		if s.Name == sub && s.Update != nil {
			return s.Update.Prepare, s.Update.Validate, s.Update.Metadata, nil
		}
	}
	return nil, nil, nil, fmt.Errorf("the catalogue has no subresource %s to update", sub)
}

// keepManaged carries over what no update changes.
func keepManaged(obj, old api.Object) {
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if at := old.GetCreationTimestamp(); !at.IsZero() {
		obj.SetCreationTimestamp(at)
	}
	if at := old.GetDeletionTimestamp(); at != nil {
		obj.SetDeletionTimestamp(at)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(grace)
	}
}

func (k *kind) invalid(obj api.Object, faults field.ErrorList) error {
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(k.resource.GVK().GroupKind(), obj.GetName(), faults)
}

func (k *kind) store(o *outcome, obj api.Object) error {
	r := k.resource
	if r.Canonicalize != nil {
		r.Canonicalize(obj)
	}
	if err := k.table(o, obj); err != nil {
		return err
	}
	if k.version != nil {
		var err error
		if obj, err = k.version.FromHub(obj); err != nil {
			return err
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	return o.keep(data)
}

func (k *kind) table(o *outcome, obj api.Object) error {
	r := k.resource
	if r.Row == nil {
		return k.plainTable(o, obj)
	}
	row := metav1.TableRow{Cells: r.Row(obj, time.Now())}
	if r.RowConditions != nil {
		row.Conditions = r.RowConditions(obj)
	}
	o.table(r.Columns, row)
	return nil
}
