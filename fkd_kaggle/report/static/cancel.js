"use strict";
// The button of the practice Kaggle that cancels a kernel.
document.getElementById("cancel")?.addEventListener("click", async event => {
  const body = JSON.stringify({session: Number(event.target.dataset.session)});
  await fetch("/practice/kernels/cancel", {method: "POST", headers: {"Content-Type": "application/json"}, body});
  location.reload();
});
