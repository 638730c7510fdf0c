import { Page } from "../ui";

export function Create() {
  return <Page title="Create"><p /></Page>;
}
