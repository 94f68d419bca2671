// Exchanges the token for the cookie; the token itself is kept nowhere.
const said = document.getElementById("said");
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  said.textContent = "";
  const field = document.getElementById("token");
  const answer = await fetch("/login", { method: "POST", body: field.value }).catch(() => null);
  if (answer?.ok) location.replace("/");
  else said.textContent = answer ? "This is not the token of this device." : "The agent does not answer.";
});
