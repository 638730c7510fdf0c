// The shell: navigation around a page, and the sign-in page in front of all of it.
import { useEffect, useState } from "preact/hooks";
import { call } from "./api";
import { useReachable } from "./connection";
import { useOpenAlerts } from "./openalerts";
import { Alerts } from "./pages/alerts";
import { Create } from "./pages/create";
import { KeyDetails } from "./pages/key";
import { Keys } from "./pages/keys";
import { Logs } from "./pages/logs";
import { SignIn, SignInAgain } from "./pages/signin";
import { Usage } from "./pages/usage";
import { forget, useAction } from "./query";
import { go, guarded, href, usePlace } from "./router";
import { end, lapsed, session, watch } from "./session";
import { useAccount } from "./store";
import { Announcer, Button, EnvironmentTag, Icon, LinkButton, Notices, Page, type IconName } from "./ui";

// What the API can show has a place here. Customers and Background Jobs get theirs with
// their APIs.
const places: { path: string; name: string; icon: IconName }[] = [
  { path: "keys", name: "API Keys", icon: "key" },
  { path: "logs", name: "Logs", icon: "log" },
  { path: "alerts", name: "Alerts", icon: "bell" },
  { path: "usage", name: "Usage", icon: "chart" },
];

export function App() {
  // Who is signed in, or was when the session ended with something half filled in.
  const [who, set] = useState(session());
  const [again, setAgain] = useState(false);
  useEffect(() => watch(() => {
    const s = session(), keep = !s && lapsed() && guarded();
    setAgain(keep);
    if (keep) return;
    forget(); // the next one who signs in may see less
    set(s);
  }), []);
  return (
    <>
      {who ? <Shell key={who.parentId} /> : <SignIn />}
      {again && who && <SignInAgain name={who.parentName} />}
      <Notices />
      <Announcer />
    </>
  );
}

function Shell() {
  const { path } = usePlace();
  const reachable = useReachable();
  const account = useAccount();
  const alerts = useOpenAlerts();
  const signOut = useAction(async () => {
    try {
      await call("DELETE", "/v1/sessions/self");
    } finally {
      // Signed out here in any case: a session that could not be ended ends by itself.
      end("");
    }
  });
  const s = session();
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault();
        document.getElementById("main")?.focus();
      }}>Skip to content</a>
      <header class="top">
        <a class="brand" href={href("keys")}><Icon name="key" size={20} /> Keyreeve</a>
        <span class="who">
          {account.data && <span class="account">{account.data.name}</span>}
          {s && <EnvironmentTag environment={s.environment} />}
        </span>
        <Button variant="quiet" icon="out" busy={signOut.busy} onClick={signOut.run}>Sign out</Button>
      </header>
      <nav class="places" aria-label="Pages">
        {places.map((p) => (
          <a key={p.path} href={href(p.path)} aria-current={path[0] === p.path ? "page" : undefined} aria-describedby={p.path === "alerts" && alerts?.n ? "open-alerts" : undefined}>
            <Icon name={p.icon} /> {p.name}
            {p.path === "alerts" && !!alerts?.n && <span class="count" aria-hidden="true">{alerts.n}{alerts.more && "+"}</span>}
          </a>
        ))}
        {!!alerts?.n && <span class="hidden" id="open-alerts">{alerts.n}{alerts.more && " or more"} open</span>}
      </nav>
      <main id="main" tabIndex={-1}>
        {!reachable && <p class="note bad" role="alert"><Icon name="warning" /> The API does not answer. What you see may be old; the console keeps trying.</p>}
        <CurrentPage path={path} />
      </main>
    </div>
  );
}

function CurrentPage({ path }: { path: string[] }) {
  const [first, second, ...more] = path;
  useEffect(() => {
    if (!first) go(href("keys"), "replace");
  }, [first]);
  if (!first) return null;
  if (more.length === 0) {
    if (first === "keys" && !second) return <Keys />;
    if (first === "keys" && second === "new") return <Create />;
    if (first === "keys" && second) return <KeyDetails key={second} id={second} />;
    if (first === "logs" && !second) return <Logs />;
    if (first === "alerts" && !second) return <Alerts />;
    if (first === "usage" && !second) return <Usage />;
  }
  return (
    <Page title="Not found">
      <p>There is no such page.</p>
      <LinkButton href={href("keys")}>API Keys</LinkButton>
    </Page>
  );
}
