// The buttons above a key's details, and the dialog that each of them opens.
import { useEffect, useState } from "preact/hooks";
import { stay } from "../../session";
import { useMayManage } from "../../store";
import type { IssuedKey } from "../../types";
import { Button } from "../../ui";
import { SavedOnce } from "../secret";
import { type KeyProps, isOwn, signOutOf } from "./change";
import { Activate, Delete, MakePrimary, Revoke } from "./danger";
import { Edit } from "./edit";
import { Regenerate } from "./regenerate";

type What = "edit" | "regenerate" | "revoke" | "activate" | "primary" | "delete";

export function Actions({ k, set, reload }: KeyProps) {
  const [open, setOpen] = useState<What>();
  const [issued, setIssued] = useState<IssuedKey>();
  const may = useMayManage();
  const [own] = useState(() => isOwn(k));
  // A new secret ends the session that was made with this key. Something that is read at that
  // moment may tell of it before the answer with the secret is here, which must find the page.
  const awaits = open === "regenerate" || issued !== undefined;
  useEffect(() => (awaits ? stay() : undefined), [awaits]);
  const props = { k, set, reload, onClose: () => setOpen(undefined) };
  const button = (what: What, text: string, danger?: boolean) =>
    <Button variant={danger ? "danger" : undefined} aria-haspopup="dialog" onClick={() => setOpen(what)}>{text}</Button>;
  if (!may) return <span class="muted">You may see this key, and not change it.</span>;
  return (
    <>
      {button("edit", "Edit")}
      {button("regenerate", "Regenerate")}
      {k.isActive ? button("revoke", "Revoke") : button("activate", "Activate")}
      {k.environment === "production" && !k.canary && !k.isPrimary && button("primary", "Make primary")}
      {button("delete", "Delete", true)}
      {open === "edit" && <Edit {...props} />}
      {open === "regenerate" && <Regenerate {...props} onIssued={setIssued} />}
      {open === "revoke" && <Revoke {...props} />}
      {open === "activate" && <Activate {...props} />}
      {open === "primary" && <MakePrimary {...props} />}
      {open === "delete" && <Delete {...props} />}
      {issued && <SavedOnce issued={issued} onDone={() => {
        setIssued(undefined);
        if (own) signOutOf(k, "regenerated");
      }} />}
    </>
  );
}
