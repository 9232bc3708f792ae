package differential

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/printers"
	printersinternal "k8s.io/kubernetes/pkg/printers/internalversion"
)

// upstreamPrinter makes upstream's tables.
var upstreamPrinter = func() *printers.HumanReadableGenerator {
	g := printers.NewTableGenerator()
	printersinternal.AddHandlers(g)
	return g
}()

// allowPrivileged is a flag of upstream's API server that clusters set; Clipper has nothing to set.
func allowPrivileged() {
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true})
}

// upstream does what upstream's API server does with a write between decoding and its answer, admission apart.
func (k *kind) upstream(w write) outcome {
	return record(func(o *outcome) error {
		obj, err := decodeUpstream(w.object)
		if err != nil {
			return err
		}
		ctx := warning.WithWarningRecorder(k.upstreamContext(w), o)
		if w.old == nil {
			err = k.upstreamCreate(ctx, obj)
		} else {
			err = k.upstreamUpdate(ctx, w, obj)
		}
		if err != nil {
			return err
		}
		return k.upstreamStore(o, obj)
	})
}

// AddWarning makes an outcome upstream's recorder of warnings.
func (o *outcome) AddWarning(_, text string) { o.warnings = append(o.warnings, text) }

func (k *kind) upstreamContext(w write) context.Context {
	verb := "create"
	if w.old != nil {
		verb = "update"
	}
	ctx := genericrequest.WithNamespace(context.Background(), k.namespace())
	ctx = genericrequest.WithUser(ctx, writer)
	return genericrequest.WithRequestInfo(ctx, &genericrequest.RequestInfo{
		IsResourceRequest: true, Verb: verb, APIGroup: k.gvk.Group, APIVersion: k.gvk.Version,
		Resource: k.resource.Name, Subresource: w.sub, Namespace: k.namespace(),
	})
}

func (k *kind) upstreamCreate(ctx context.Context, obj runtime.Object) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.SetUID(uid)
	m.SetCreationTimestamp(created)
	return rest.BeforeCreate(k.strategies.main, ctx, obj)
}

func (k *kind) upstreamUpdate(ctx context.Context, w write, obj runtime.Object) error {
	old, err := decodeUpstream(w.old)
	if err != nil {
		return err
	}
	return rest.BeforeUpdate(k.strategies.update(w.sub), ctx, obj, old)
}

// upstreamStore takes obj through storage, which defaults it once more, and shows it.
func (k *kind) upstreamStore(o *outcome, obj runtime.Object) error {
	codec := legacyscheme.Codecs.LegacyCodec(k.gvk.GroupVersion())
	data, err := runtime.Encode(codec, obj)
	if err != nil {
		return err
	}
	if obj, err = decodeUpstream(data); err != nil {
		return err
	}
	if data, err = runtime.Encode(codec, obj); err != nil {
		return err
	}
	if err := k.upstreamTable(o, obj); err != nil {
		return err
	}
	return o.keep(data)
}

// upstreamTable shows obj. Kinds that upstream has no printer for are shown by name and time of creation.
func (k *kind) upstreamTable(o *outcome, obj runtime.Object) error {
	t, err := upstreamPrinter.GenerateTable(obj, printers.GenerateOptions{Wide: true})
	if err != nil {
		return k.plainTable(o, obj)
	}
	if len(t.Rows) != 1 {
		return fmt.Errorf("upstream shows one object in %d rows", len(t.Rows))
	}
	o.table(t.ColumnDefinitions, t.Rows[0])
	return nil
}

// plainTable is what servers show of kinds without columns of their own.
func (k *kind) plainTable(o *outcome, obj runtime.Object) error {
	plain := rest.NewDefaultTableConvertor(k.resource.GVR().GroupResource())
	t, err := plain.ConvertToTable(context.Background(), obj, nil)
	if err != nil {
		return err
	}
	o.table(t.ColumnDefinitions, t.Rows[0])
	return nil
}

// decodeUpstream reads an object, defaults it and converts it to upstream's internal version.
func decodeUpstream(data []byte) (runtime.Object, error) {
	obj, _, err := legacyscheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, errors.Join(errDecode, err)
	}
	return obj, nil
}
