package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

// mostID is the largest ID of users and groups. To the kernel -1 means to stay who one is, which would be root.
const mostID = math.MaxInt32

// resolveUser finds out as whom the container's process runs: the pod's choice, else the image's, looked up in the
// image's own passwd and group files. imageUser has the image format's form: name, uid, name:group, uid:gid.
func resolveUser(rootfs string, sec *runtime.Security, imageUser string) (specs.User, error) {
	wanted := imageUser
	switch {
	case sec.User != nil:
		wanted = strconv.FormatInt(*sec.User, 10)
	case sec.UserName != "":
		wanted = sec.UserName
	}
	name, _, _ := strings.Cut(wanted, ":")
	if sec.Group != nil {
		wanted = name + ":" + strconv.FormatInt(*sec.Group, 10)
	}
	passwd, group, err := accountFiles(rootfs)
	if err != nil {
		return specs.User{}, err
	}
	account, err := user.GetExecUserPath(wanted, &user.ExecUser{}, passwd, group)
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: %w", wanted, err)
	}
	out := specs.User{UID: uint32(account.Uid), GID: uint32(account.Gid)}
	groups := []int64{int64(account.Gid)} // the primary one too: dropping it would be a way around deny entries
	if !sec.SupplementalStrict {
		// Asked for without a group: with one, the group file is not searched for memberships.
		member, err := user.GetExecUserPath(name, &user.ExecUser{}, passwd, group)
		if err != nil {
			return specs.User{}, fmt.Errorf("groups of user %q: %w", name, err)
		}
		for _, g := range member.Sgids {
			groups = append(groups, int64(g))
		}
	}
	groups = append(groups, sec.SupplementalGroups...)
	for _, id := range append([]int64{int64(account.Uid)}, groups...) {
		if id < 0 || id > mostID {
			return specs.User{}, fmt.Errorf("user %q: ID %d is out of range: 0 to %d are there", wanted, id, mostID)
		}
	}
	for _, g := range groups {
		if !slices.Contains(out.AdditionalGids, uint32(g)) {
			out.AdditionalGids = append(out.AdditionalGids, uint32(g))
		}
	}
	return out, nil
}

// accountFiles returns where the image's files are, following its symbolic links without leaving it.
func accountFiles(rootfs string) (passwd, group string, err error) {
	if passwd, err = accountFile(rootfs, "/etc/passwd"); err != nil {
		return "", "", err
	}
	group, err = accountFile(rootfs, "/etc/group")
	return passwd, group, err
}

// accountFile refuses what is there and is no file: opening an image's FIFO would wait for a writer that never comes.
func accountFile(rootfs, name string) (string, error) {
	path, err := securejoin.SecureJoin(rootfs, name)
	if err != nil {
		return "", err
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil // nobody has a name there
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s of the image is no file but %v", name, info.Mode().Type())
	}
	return path, nil
}
