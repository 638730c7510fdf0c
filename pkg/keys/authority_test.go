package keys_test

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// A policy table: who does what to which key, and whether that is allowed. Every row has
// keys of its own.
func TestNobodyGrantsWhatItDoesNotHold(t *testing.T) {
	type key struct {
		env         keys.Environment
		permissions []string
		customers   []string
		networks    []string
		start       time.Duration // from now; 0: at once
		inactive    bool
		days        int
	}
	prod := func(p ...string) key { return key{env: keys.Production, permissions: p} }
	dev := func(p ...string) key { return key{env: keys.Development, permissions: p} }
	of := func(k key, customers ...string) key { k.customers = customers; return k }
	from := func(k key, networks ...string) key { k.networks = networks; return k }
	starts := func(k key, in time.Duration) key { k.start = in; return k }
	off := func(k key) key { k.inactive = true; return k }
	ends := func(k key, days int) key { k.days = days; return k }

	const read, write, manage, telemetry = "customers:read", "customers:write", "api_keys:write", "telemetry:write"
	type request func(w *world, by, target keys.Caller) error

	// What can be asked for.
	create := func(k key) request {
		return func(w *world, by, _ keys.Caller) error {
			customers := k.customers
			if customers == nil {
				customers = []string{}
			}
			networks := k.networks
			if networks == nil {
				networks = []string{}
			}
			_, err := w.Service.Create(ctx, by, keys.CreateInput{
				Name: "x", Environment: &k.env, Permissions: &k.permissions, Customers: customers, Networks: networks,
			}, plain)
			return err
		}
	}
	patch := func(p keys.Patch) request {
		return func(w *world, by, target keys.Caller) error {
			_, err := w.Service.Update(ctx, by, ref(target), p, anyVersion)
			return err
		}
	}
	grant := func(p ...string) request { return patch(keys.Patch{Permissions: &p}) }
	confine := func(c ...string) request { return patch(keys.Patch{Customers: &c}) }
	allowFrom := func(n ...string) request { return patch(keys.Patch{Networks: &n}) }
	start := func(in time.Duration) request {
		return func(w *world, by, target keys.Caller) error {
			at := new(w.Clock.Now().Add(in))
			return patch(keys.Patch{NotBefore: &at})(w, by, target)
		}
	}
	atOnce := patch(keys.Patch{NotBefore: new((*time.Time)(nil))})
	expire := func(days int) request { return patch(keys.Patch{ExpirationDays: &days}) }
	forever := patch(keys.Patch{ExpiresAt: new((*time.Time)(nil))})
	rename := patch(keys.Patch{Name: new("renamed"), Owner: new("someone")})
	primary := patch(keys.Patch{Primary: new(true)})
	switchOn := patch(keys.Patch{Active: new(true)})
	switchOff := patch(keys.Patch{Active: new(false)})
	activate := func(w *world, by, target keys.Caller) error {
		_, err := w.Service.Activate(ctx, by, ref(target), anyVersion)
		return err
	}
	revoke := func(w *world, by, target keys.Caller) error {
		_, _, err := w.Service.Revoke(ctx, by, ref(target), true, anyVersion)
		return err
	}
	regenerate := func(w *world, by, target keys.Caller) error {
		_, err := w.Service.Regenerate(ctx, by, ref(target), 0, plain, anyVersion)
		return err
	}
	remove := func(w *world, by, target keys.Caller) error {
		_, err := w.Service.Delete(ctx, by, ref(target), anyVersion)
		return err
	}
	get := func(w *world, by, target keys.Caller) error {
		_, err := w.Service.Get(ctx, by, ref(target))
		return err
	}

	row := func(want, what string, by, target key, ask request) {
		t.Helper()
		w := newWorld(t, "enterprise")
		make := func(k key) keys.Caller {
			in := keys.CreateInput{Environment: &k.env, Permissions: &k.permissions, Customers: k.customers, Networks: k.networks}
			if k.days > 0 {
				in.ExpirationDays = &k.days
			}
			c := w.create(w.root, in)
			if k.start != 0 {
				if err := start(k.start)(w, w.root, c); err != nil {
					t.Fatal(err)
				}
			}
			if k.inactive {
				if _, _, err := w.Service.Revoke(ctx, w.root, ref(c), false, anyVersion); err != nil {
					t.Fatal(err)
				}
			}
			return c
		}
		err := ask(w, make(by), make(target))
		switch want {
		case "":
			if err != nil {
				t.Errorf("%s: %v, want it allowed", what, err)
			}
		case "absent":
			is(t, what, err, keys.ErrNotFound)
		default:
			escalates(t, what, err, want)
		}
	}
	allow := func(what string, by, target key, ask request) { t.Helper(); row("", what, by, target, ask) }
	deny := func(field, what string, by, target key, ask request) { t.Helper(); row(field, what, by, target, ask) }
	none := prod()

	// Creating.
	allow("create within its permissions", prod(read, manage), none, create(prod(read)))
	allow("create as much as it holds", prod(read, manage), none, create(prod(manage, read)))
	allow("create by wildcard", prod("customers:*", manage), none, create(prod(read, write, "customers:*")))
	allow("create in another environment by a production key", prod(read, manage), none, create(dev(read)))
	allow("create in its own environment", dev(read, manage), none, create(dev(read, manage)))
	allow("create for some of its customers", of(prod(read, manage), "a", "b"), none, create(of(prod(read), "b")))
	deny("permissions", "create what it lacks", prod(read, manage), none, create(prod(read, telemetry)))
	deny("permissions", "create a wildcard over what it holds", prod(read, write, manage), none, create(prod("customers:*")))
	deny("permissions", "create everything", prod("customers:*", manage), none, create(prod("*")))
	deny("permissions", "create a manager of more", prod("*", manage), none, create(prod("api_keys:*")))
	deny("permissions", "create without api_keys:write", prod("*", "api_keys:read"), none, create(prod(read)))
	deny("permissions", "create with nothing but *", prod("*"), none, create(prod(read)))
	deny("environment", "create a production key by a development key", dev(read, manage), none, create(prod(read)))
	deny("environment", "create a staging key by a development key", dev(read, manage), none, create(key{env: keys.Staging}))
	deny("customers", "create for another customer", of(prod(read, manage), "a"), none, create(of(prod(read), "a", "b")))
	deny("customers", "create for every customer", of(prod(read, manage), "a"), none, create(prod(read)))

	allow("create for a part of its networks", from(prod(read, manage), "10.0.0.0/8"), none, create(from(prod(read), "10.1.0.0/16", "10.2.2.2")))
	allow("create for what its networks make together", from(prod(read, manage), "10.0.0.0/9", "10.128.0.0/9"), none, create(from(prod(read), "10.0.0.0/8")))
	allow("create for anywhere, by whoever may do so", from(prod(read, manage), "0.0.0.0/0", "::/0"), none, create(prod(read)))
	deny("networks", "create for a wider network", from(prod(read, manage), "10.0.0.0/8"), none, create(from(prod(read), "10.0.0.0/7")))
	deny("networks", "create for another network", from(prod(read, manage), "10.0.0.0/8"), none, create(from(prod(read), "10.0.0.0/8", "::1")))
	deny("networks", "create for anywhere", from(prod(read, manage), "10.0.0.0/8"), none, create(prod(read)))
	deny("networks", "create for anywhere with no IPv6", from(prod(read, manage), "0.0.0.0/0"), none, create(prod(read)))

	// Networks and times of a key that is there.
	allow("confine a stronger key to a network", prod(manage), prod(read), allowFrom("10.0.0.0/8"))
	allow("confine it to fewer", prod(manage), from(prod(read), "10.0.0.0/8", "::/0"), allowFrom("10.1.2.3"))
	allow("add a network", prod(read, manage), from(prod(read), "10.0.0.0/8"), allowFrom("10.0.0.0/8", "::1"))
	deny("permissions", "add a network to a stronger key", prod(manage), from(prod(read), "10.0.0.0/8"), allowFrom("10.0.0.0/8", "::1"))
	deny("networks", "add a network that it has not", from(prod(read, manage), "10.0.0.0/8"), from(prod(read), "10.0.0.0/8"), allowFrom("10.0.0.0/8", "::1"))
	deny("networks", "lift the confinement", from(prod(read, manage), "10.0.0.0/8"), from(prod(read), "10.0.0.0/8"), allowFrom())
	deny("networks", "add a permission to a key of anywhere", from(prod(read, manage), "10.0.0.0/8"), prod(), grant(read))
	deny("networks", "a new secret of a key of anywhere", from(prod(read, manage), "10.0.0.0/8"), prod(read), regenerate)
	allow("put off a stronger key", prod(manage), prod(read), start(time.Hour))
	allow("put it off further", prod(manage), starts(prod(read), time.Hour), start(2*time.Hour))
	allow("let it start sooner", prod(read, manage), starts(prod(read), time.Hour), start(time.Minute))
	deny("permissions", "let a stronger key start sooner", prod(manage), starts(prod(read), time.Hour), start(time.Minute))
	deny("permissions", "let a stronger key start at once", prod(manage), starts(prod(read), time.Hour), atOnce)

	// Permissions and customers of a key that is there.
	allow("add what it holds", prod(read, write, manage), prod(read), grant(read, write))
	allow("take away from a stronger key", prod(manage), prod("*", telemetry), grant(telemetry))
	allow("take away by narrowing a wildcard", prod(manage), prod("customers:*"), grant(read))
	allow("confine a stronger key", prod(manage), prod(read), confine("a"))
	allow("confine it more", prod(manage), of(prod(read), "a", "b"), confine("b"))
	allow("add a customer", prod(read, manage), of(prod(read), "a"), confine("a", "b"))
	deny("permissions", "add what it lacks", prod(read, manage), prod(read), grant(read, write))
	deny("permissions", "add to a key that holds more", prod(read, manage), prod(write), grant(read, write))
	deny("permissions", "widen to a wildcard", prod(read, manage), prod(read), grant("customers:*"))
	deny("customers", "add a permission on customers that it has not", of(prod(read, manage), "a"), of(prod(), "b"), grant(read))
	deny("customers", "add a permission to a key of every customer", of(prod(read, manage), "a"), prod(), grant(read))
	deny("customers", "add a customer that it has not", of(prod(read, manage), "a"), of(prod(read), "a"), confine("a", "b"))
	deny("customers", "add every customer", of(prod(read, manage), "a"), of(prod(read), "a"), confine())
	deny("permissions", "add a customer to a key that holds more", prod(manage), of(prod(read), "a"), confine("a", "b"))
	deny("permissions", "swap one permission for another", prod(read, manage), prod(read), grant(write))

	// Switching on, living longer, a new secret: each hands out what the key holds.
	allow("activate what it covers", prod(read, manage), off(prod(read)), activate)
	allow("activate what is on already", prod(manage), prod("*"), activate)
	allow("regenerate what it covers", prod(read, manage), prod(read), regenerate)
	allow("live longer", prod(read, manage), ends(prod(read), 1), expire(2))
	allow("live shorter", prod(manage), ends(prod("*"), 3), expire(2))
	allow("end what had no end", prod(manage), prod("*"), expire(365))
	allow("no end where there was none", prod(manage), prod("*"), forever)
	deny("permissions", "activate a stronger key", prod(manage), off(prod(read)), activate)
	deny("permissions", "switch a stronger key on", prod(manage), off(prod(read)), switchOn)
	deny("customers", "activate a key of every customer", of(prod(manage), "a"), off(prod()), activate)
	deny("permissions", "regenerate a stronger key", prod(manage), prod(read), regenerate)
	deny("permissions", "regenerate a stronger manager", prod(read, manage), prod(manage, "api_keys:read"), regenerate)
	deny("customers", "regenerate a key of another customer", of(prod(read, manage), "a"), of(prod(read), "b"), regenerate)
	deny("permissions", "let a stronger key live longer", prod(manage), ends(prod(read), 1), expire(2))
	deny("permissions", "let a stronger key live for ever", prod(manage), ends(prod(read), 1), forever)

	// Taking away, and what grants no access, needs the right to manage keys and no more.
	allow("revoke a stronger key", prod(manage), prod("*", "api_keys:*"), revoke)
	allow("switch a stronger key off", prod(manage), prod("*"), switchOff)
	allow("delete a stronger key", dev(manage), dev("*", "api_keys:*"), remove)
	allow("rename a stronger key", prod(manage), prod("*"), rename)
	allow("make a stronger key primary", prod(manage), prod("*"), primary)
	deny("permissions", "revoke without api_keys:write", prod("*", "api_keys:read"), prod(), revoke)
	deny("permissions", "delete without api_keys:write", prod("*"), prod(), remove)
	deny("permissions", "rename without api_keys:write", prod("*", "api_keys:read"), prod(), rename)
	deny("permissions", "read without api_keys:read", prod("*", manage), prod(), get)

	// What a caller does not see is absent.
	allow("a production key manages every environment", prod(read, manage), dev(read), regenerate)
	allow("a development key manages its own", dev(read, manage), dev(read), regenerate)
	allow("a development key reads its own", dev("api_keys:read"), dev(read), get)
	for name, ask := range map[string]request{
		"rename": rename, "revoke": revoke, "activate": activate, "regenerate": regenerate, "delete": remove, "get": get, "grant": grant(read),
	} {
		for _, e := range []keys.Environment{keys.Production, keys.Staging} {
			deny("absent", name+" by a development key in "+string(e), dev("*", "api_keys:*"), key{env: e}, ask)
		}
	}
}

func TestACallerReadsItselfWithoutPermission(t *testing.T) {
	w := newWorld(t, "enterprise")
	c := w.manager(keys.Production, "telemetry:write")
	k, err := w.Service.Get(ctx, c, ref(c))
	if err != nil || k.ID != c.KeyID {
		t.Errorf("Get of itself = %s, %v", k.ID, err)
	}
	_, err = w.Service.Get(ctx, c, ref(w.root))
	escalates(t, "Get of another", err, "permissions")
	_, err = w.Service.Get(ctx, c, keys.Ref{ID: "absent00"})
	escalates(t, "Get of an absent key, which must not tell it from another", err, "permissions")
}

func TestAnotherAccountsKeyIsAbsent(t *testing.T) {
	w := newWorld(t, "enterprise")
	_, stranger := w.World.Account(t, "enterprise")
	mine := w.manager(keys.Production, "customers:read")
	for name, ask := range map[string]func(keys.Ref) error{
		"get": func(r keys.Ref) error { _, err := w.Service.Get(ctx, stranger, r); return err },
		"update": func(r keys.Ref) error {
			_, err := w.Service.Update(ctx, stranger, r, keys.Patch{Name: new("x")}, anyVersion)
			return err
		},
		"revoke": func(r keys.Ref) error {
			_, _, err := w.Service.Revoke(ctx, stranger, r, true, keys.Conditions{Force: true})
			return err
		},
		"activate": func(r keys.Ref) error { _, err := w.Service.Activate(ctx, stranger, r, anyVersion); return err },
		"regenerate": func(r keys.Ref) error {
			_, err := w.Service.Regenerate(ctx, stranger, r, 0, plain, anyVersion)
			return err
		},
		"delete": func(r keys.Ref) error { _, err := w.Service.Delete(ctx, stranger, r, anyVersion); return err },
	} {
		foreign, absent := ask(ref(mine)), ask(keys.Ref{ID: "absent00"})
		is(t, name+" of a foreign key", foreign, keys.ErrNotFound)
		if foreign.Error() != absent.Error() {
			t.Errorf("%s: foreign %q, absent %q, want the same", name, foreign, absent)
		}
		is(t, name+" by a number of the other account", ask(keys.Ref{Number: 2}), keys.ErrNotFound)
		is(t, name+" of a malformed id", ask(keys.Ref{ID: "K#x' OR 1"}), keys.ErrNotFound)
	}
	page, err := w.Service.List(ctx, stranger, keys.Query{})
	if err != nil || page.Total != 1 || page.Keys[0].AccountID != stranger.AccountID {
		t.Errorf("List = %d keys, %v, want its own root alone", page.Total, err)
	}
	same(t, "the key", w.key(mine.KeyID).Version, int64(1))
}

func TestACallerWithoutAccountIsNobody(t *testing.T) {
	w := newWorld(t, "enterprise")
	nobody := w.root
	nobody.AccountID = ""
	for name, err := range map[string]error{
		"create": func() error { _, err := w.Service.Create(ctx, nobody, keys.CreateInput{Name: "x"}, plain); return err }(),
		"list":   func() error { _, err := w.Service.List(ctx, nobody, keys.Query{}); return err }(),
		"get":    func() error { _, err := w.Service.Get(ctx, nobody, ref(w.root)); return err }(),
		"delete": func() error { _, err := w.Service.Delete(ctx, nobody, ref(w.root), anyVersion); return err }(),
	} {
		is(t, name, err, keys.ErrCallerGone)
	}
}

func TestTheLastManagerGoesOnlyByForce(t *testing.T) {
	const manage = "api_keys:write"
	for name, tt := range map[string]struct {
		setup func(w *world) keys.Caller // gives the caller that takes itself away
		last  bool
	}{
		"the only one": {setup: func(w *world) keys.Caller { return w.root }, last: true},
		"another production manager is left": {setup: func(w *world) keys.Caller {
			w.manager(keys.Production, manage)
			return w.root
		}},
		"an inactive one does not count": {last: true, setup: func(w *world) keys.Caller {
			m := w.manager(keys.Production, manage)
			if _, _, err := w.Service.Revoke(ctx, w.root, ref(m), false, anyVersion); err != nil {
				t.Fatal(err)
			}
			return w.root
		}},
		"an expired one does not count": {last: true, setup: func(w *world) keys.Caller {
			w.create(w.root, keys.CreateInput{Permissions: &[]string{manage}, ExpirationDays: new(1)})
			w.Clock.Advance(24 * time.Hour)
			return w.root
		}},
		"a reader does not count": {last: true, setup: func(w *world) keys.Caller {
			w.manager(keys.Production, "*", "api_keys:read")
			return w.root
		}},
		"a development manager does not cover production": {last: true, setup: func(w *world) keys.Caller {
			w.manager(keys.Development, manage)
			return w.root
		}},
		"production covers development": {setup: func(w *world) keys.Caller {
			return w.manager(keys.Development, manage)
		}},
	} {
		for op, take := range map[string]func(w *world, c keys.Caller, cond keys.Conditions) error{
			"revoke": func(w *world, c keys.Caller, cond keys.Conditions) error {
				_, _, err := w.Service.Revoke(ctx, c, ref(c), false, cond)
				return err
			},
			"switch off": func(w *world, c keys.Caller, cond keys.Conditions) error {
				_, err := w.Service.Update(ctx, c, ref(c), keys.Patch{Active: new(false)}, cond)
				return err
			},
			"narrow": func(w *world, c keys.Caller, cond keys.Conditions) error {
				_, err := w.Service.Update(ctx, c, ref(c), keys.Patch{Permissions: &[]string{}}, cond)
				return err
			},
			"delete": func(w *world, c keys.Caller, cond keys.Conditions) error {
				if w.key(c.KeyID).Primary { // it could not be deleted anyway
					p := w.manager(keys.Production)
					if _, err := w.Service.Update(ctx, w.root, ref(p), keys.Patch{Primary: new(true)}, anyVersion); err != nil {
						return err
					}
				}
				_, err := w.Service.Delete(ctx, c, ref(c), cond)
				return err
			},
		} {
			t.Run(name+"/"+op, func(t *testing.T) {
				w := newWorld(t, "enterprise")
				c := tt.setup(w)
				err := take(w, c, anyVersion)
				if !tt.last {
					if err != nil {
						t.Errorf("%s = %v, want it allowed", op, err)
					}
					return
				}
				is(t, op, err, keys.ErrLastManager)
				if got := w.key(c.KeyID); !got.Active || got.Deleted {
					t.Error("the refused change was made")
				}
				if err := take(w, c, keys.Conditions{Force: true}); err != nil {
					t.Errorf("%s by force = %v", op, err)
				}
			})
		}
	}
}

func TestRevokingDescendantsThatIncludeEveryManagerIsStopped(t *testing.T) {
	w := newWorld(t, "enterprise")
	everything := []string{"*", "api_keys:*"}
	child := w.create(w.root, keys.CreateInput{Permissions: &everything})
	_, _, err := w.Service.Revoke(ctx, child, ref(w.root), true, anyVersion)
	is(t, "a child revokes the whole family, itself included", err, keys.ErrLastManager)
	if !w.key(w.root.KeyID).Active || !w.key(child.KeyID).Active {
		t.Error("the refused change was made in part")
	}
	if _, _, err := w.Service.Revoke(ctx, child, ref(w.root), false, anyVersion); err != nil {
		t.Errorf("a child revokes its creator alone: %v", err)
	}
}
