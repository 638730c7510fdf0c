import { Page } from "../ui";

export function Alerts() {
  return <Page title="Alerts"><p /></Page>;
}
