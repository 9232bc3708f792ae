package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	resourcev1 "k8s.io/api/resource/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func validateClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	f := &rule.Faults{}
	claimDevices(f, &c.Spec.Devices, specPath.Child("devices"))
	return f.List
}

func validateClaimUpdate(c, old *resourcev1.ResourceClaim) field.ErrorList {
	f := &rule.Faults{}
	f.Unchanged(specPath, c.Spec, old.Spec)
	return f.List
}

func validateTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	f := &rule.Faults{}
	podspec.TemplateMeta(f, &t.Spec.ObjectMeta, specPath.Child("metadata"))
	claimDevices(f, &t.Spec.Spec.Devices, specPath.Child("spec", "devices"))
	return f.List
}

func validateTemplateUpdate(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	f := &rule.Faults{List: validateTemplate(t)}
	f.Unchanged(specPath, t.Spec, old.Spec)
	return f.List
}

// requestNames are a claim's requests, each with its alternatives.
type requestNames map[string][]string

func namesOf(c *resourcev1.DeviceClaim) requestNames {
	names := requestNames{}
	for _, r := range c.Requests {
		var alternatives []string
		for _, a := range r.FirstAvailable {
			alternatives = append(alternatives, a.Name)
		}
		names[r.Name] = alternatives
	}
	return names
}

// reference checks "request" or "request/alternative".
func (names requestNames) reference(f *rule.Faults, name string, at *field.Path) {
	const fault = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		f.Invalid(at, name, fault)
		return
	}
	for _, part := range parts {
		f.DNSLabel(at, part)
	}
	alternatives, ok := names[parts[0]]
	if !ok || len(parts) == 2 && !slices.Contains(alternatives, parts[1]) {
		f.Invalid(at, name, fault)
	}
}

func (names requestNames) references(f *rule.Faults, list []string, at *field.Path) {
	if !fewEnough(f, len(list), resourcev1.DeviceRequestsMaxSize, at) {
		return
	}
	for i, name := range list {
		names.reference(f, name, at.Index(i))
	}
	unique(f, list, at, itself)
}

func claimDevices(f *rule.Faults, c *resourcev1.DeviceClaim, at *field.Path) {
	names := namesOf(c)
	if requests := at.Child("requests"); fewEnough(f, len(c.Requests), resourcev1.DeviceRequestsMaxSize, requests) {
		for i := range c.Requests {
			request(f, &c.Requests[i], requests.Index(i))
		}
		unique(f, c.Requests, requests, func(r resourcev1.DeviceRequest) string { return r.Name })
	}
	if constraints := at.Child("constraints"); fewEnough(f, len(c.Constraints), resourcev1.DeviceConstraintsMaxSize, constraints) {
		for i, k := range c.Constraints {
			at := constraints.Index(i)
			names.references(f, k.Requests, at.Child("requests"))
			switch {
			case k.MatchAttribute != nil:
				fullName(f, string(*k.MatchAttribute), at.Child("matchAttribute"))
			case k.DistinctAttribute != nil:
				fullName(f, string(*k.DistinctAttribute), at.Child("distinctAttribute"))
			default:
				f.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
			}
		}
	}
	if config := at.Child("config"); fewEnough(f, len(c.Config), resourcev1.DeviceConfigMaxSize, config) {
		for i := range c.Config {
			names.references(f, c.Config[i].Requests, config.Index(i).Child("requests"))
			configuration(f, &c.Config[i].DeviceConfiguration, config.Index(i))
		}
	}
}

func request(f *rule.Faults, r *resourcev1.DeviceRequest, at *field.Path) {
	f.DNSLabel(at.Child("name"), r.Name)
	several := len(r.FirstAvailable) > 0
	switch {
	case several && r.Exactly != nil:
		f.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case several:
		at := at.Child("firstAvailable")
		if !fewEnough(f, len(r.FirstAvailable), resourcev1.FirstAvailableDeviceRequestMaxSize, at) {
			return
		}
		for i, a := range r.FirstAvailable {
			f.DNSLabel(at.Index(i).Child("name"), a.Name)
			wanted(f, a.DeviceClassName, a.Selectors, a.AllocationMode, a.Count, a.Tolerations, at.Index(i))
		}
		unique(f, r.FirstAvailable, at, func(a resourcev1.DeviceSubRequest) string { return a.Name })
	case r.Exactly != nil:
		e := r.Exactly
		wanted(f, e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, at.Child("exactly"))
	default:
		f.Required(at, "exactly one of `exactly` or `firstAvailable` is required")
	}
}

func wanted(f *rule.Faults, class string, s []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64,
	tolerations []resourcev1.DeviceToleration, at *field.Path) {
	if name := at.Child("deviceClassName"); f.Need(name, class) {
		f.DNSSubdomain(name, class)
	}
	selectors(f, s, at.Child("selectors"))
	switch {
	case mode == resourcev1.DeviceAllocationModeAll && count != 0:
		f.Invalid(at.Child("count"), count, "must not be specified when allocationMode is 'All'")
	case mode == resourcev1.DeviceAllocationModeExactCount && count <= 0:
		f.Invalid(at.Child("count"), count, "must be greater than zero")
	}
	rule.OneOf(f, at.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	for i := range tolerations {
		toleration(f, &tolerations[i], at.Child("tolerations").Index(i))
	}
}

func validateClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	f, s := &rule.Faults{}, &c.Status
	reserved := statusPath.Child("reservedFor")
	if fewEnough(f, len(s.ReservedFor), resourcev1.ResourceClaimReservedForMaxSize, reserved) {
		for i, r := range s.ReservedFor {
			at := reserved.Index(i)
			f.Need(at.Child("resource"), r.Resource)
			f.Need(at.Child("name"), r.Name)
			f.Need(at.Child("uid"), string(r.UID))
		}
		unique(f, s.ReservedFor, reserved, func(r resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID })
	}
	deviceStatuses(f, s)
	switch {
	case len(s.ReservedFor) == 0:
	case s.Allocation == nil:
		f.Forbidden(reserved, "may not be specified when `allocated` is not set")
	case c.DeletionTimestamp != nil && slices.ContainsFunc(s.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool {
		return !slices.Contains(old.Status.ReservedFor, r)
	}):
		f.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
	}
	if at := statusPath.Child("allocation"); s.Allocation != nil {
		if old.Status.Allocation != nil {
			f.Unchanged(at, s.Allocation, old.Status.Allocation)
		} else {
			allocation(f, s.Allocation, namesOf(&c.Spec.Devices), at)
		}
	}
	return f.List
}

// A deviceID names a device, or the share of one that several claims use.
type deviceID struct {
	Driver, Pool, Device, ShareID string
}

func deviceStatuses(f *rule.Faults, s *resourcev1.ResourceClaimStatus) {
	allocated := allocatedDevices(s.Allocation)
	for i, d := range s.Devices {
		at := statusPath.Child("devices").Index(i)
		podspec.CSIDriverName(f, d.Driver, at.Child("driver"))
		poolName(f, d.Pool, at.Child("pool"))
		f.DNSLabel(at.Child("device"), d.Device)
		if d.ShareID != nil {
			uniqueID(f, *d.ShareID, at.Child("shareID"))
		}
		if !allocated[idOf(d)] {
			f.Invalid(at, idOf(d), "must be an allocated device in the claim")
		}
		fewEnough(f, len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions, at.Child("conditions"))
		f.Add(metav1validation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
		if d.Data != nil && len(d.Data.Raw) > 0 {
			document(f, *d.Data, at.Child("data"), resourcev1.AllocatedDeviceStatusDataMaxLength)
		}
		if d.NetworkData != nil {
			networkData(f, d.NetworkData, at.Child("networkData"))
		}
	}
	unique(f, s.Devices, statusPath.Child("devices"), idOf)
}

// idOf names the device that a status is about.
func idOf(d resourcev1.AllocatedDeviceStatus) deviceID {
	return deviceID{d.Driver, d.Pool, d.Device, ptr.Deref(d.ShareID, "")}
}

// allocatedDevices are the devices of an allocation, which may be nil.
func allocatedDevices(a *resourcev1.AllocationResult) map[deviceID]bool {
	devices := map[deviceID]bool{}
	if a == nil {
		return devices
	}
	for _, r := range a.Devices.Results {
		devices[deviceID{r.Driver, r.Pool, r.Device, string(ptr.Deref(r.ShareID, ""))}] = true
	}
	return devices
}

// keepAllocated drops what is said of devices that a claim no longer has.
func keepAllocated(s, old *resourcev1.ResourceClaimStatus) {
	is, was := allocatedDevices(s.Allocation), allocatedDevices(old.Allocation)
	s.Devices = slices.DeleteFunc(slices.Clone(s.Devices), func(d resourcev1.AllocatedDeviceStatus) bool {
		return was[idOf(d)] && !is[idOf(d)]
	})
	if len(s.Devices) == 0 {
		s.Devices = nil
	}
}

func networkData(f *rule.Faults, d *resourcev1.NetworkDeviceData, at *field.Path) {
	if most := resourcev1.NetworkDeviceDataInterfaceNameMaxLength; len(d.InterfaceName) > most {
		f.Add(field.TooLong(at.Child("interfaceName"), "", most))
	}
	if most := resourcev1.NetworkDeviceDataHardwareAddressMaxLength; len(d.HardwareAddress) > most {
		f.Add(field.TooLong(at.Child("hardwareAddress"), "", most))
	}
	ips := at.Child("ips")
	if !fewEnough(f, len(d.IPs), resourcev1.NetworkDeviceDataMaxIPs, ips) {
		return
	}
	for i, ip := range d.IPs {
		f.Add(validation.IsValidInterfaceAddress(ips.Index(i), ip)...)
	}
	unique(f, d.IPs, ips, itself)
}

// uniqueID asks for a UUID in its usual form.
func uniqueID(f *rule.Faults, id string, at *field.Path) {
	switch err := uuid.Validate(id); {
	case err != nil:
		f.Invalid(at, id, fmt.Sprintf("error validating uid: %v", err))
	case len(id) != 36 || id != strings.ToLower(id):
		f.Invalid(at, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

func allocation(f *rule.Faults, a *resourcev1.AllocationResult, names requestNames, at *field.Path) {
	devices := at.Child("devices")
	if results := devices.Child("results"); fewEnough(f, len(a.Devices.Results), resourcev1.AllocationResultsMaxSize, results) {
		for i, r := range a.Devices.Results {
			at := results.Index(i)
			names.reference(f, r.Request, at.Child("request"))
			podspec.CSIDriverName(f, r.Driver, at.Child("driver"))
			poolName(f, r.Pool, at.Child("pool"))
			f.DNSLabel(at.Child("device"), r.Device)
			bindingConditions(f, r.BindingConditions, r.BindingFailureConditions, at)
			if r.ShareID != nil {
				uniqueID(f, string(*r.ShareID), at.Child("shareID"))
			}
		}
	}
	if config := devices.Child("config"); fewEnough(f, len(a.Devices.Config), 2*resourcev1.DeviceConfigMaxSize, config) {
		for i := range a.Devices.Config {
			c, at := &a.Devices.Config[i], config.Index(i)
			rule.Choice(f, at.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			names.references(f, c.Requests, at.Child("requests"))
			configuration(f, &c.DeviceConfiguration, at)
		}
	}
	if a.NodeSelector != nil {
		podspec.NodeSelector(f, a.NodeSelector, false, at.Child("nodeSelector"))
	}
}
