import { Page } from "../ui";

export function Usage() {
  return <Page title="Usage"><p /></Page>;
}
