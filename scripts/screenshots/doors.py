"""Before there is a chat: the forms in each of their states."""

from __future__ import annotations

from playwright.sync_api import expect

from scripts.screenshots.studio import SECRET, Studio, unlock


def first_run(studio: Studio) -> None:
    """No broker has ever run here; then one does."""
    with studio.tab() as page:
        page.get_by_label("Your name").fill("alice")
        studio.shoot(page, "first-run", "No broker is running on this machine.")
        studio.start_broker()
        expect(page.get_by_label("Broker")).to_have_value(studio.address.url)
        expect(page.get_by_text("No broker is running")).to_be_hidden()
        studio.shoot(page, "connect")
        page.get_by_label("Broker").fill("chat.example.org:12345")
        page.get_by_role("button", name="Connect").click()
        studio.shoot(page, "other-broker", "This is not a broker's address")


def invited(studio: Studio) -> None:
    """Somebody has an invite, and no profile yet."""
    invite = studio.ask_broker("invite", "--host", "chat.example.org")
    with studio.tab() as page:
        page.get_by_text("Profile", exact=True).click()
        page.get_by_label("Name", exact=True).fill("alice")
        page.get_by_label("Passphrase, or nothing").fill(SECRET)
        page.get_by_label("The same once more").fill(SECRET)
        page.get_by_label("Broker, or the invite you were given").fill(invite)
        page.get_by_role("heading", name="SecureChat").click()
        studio.shoot(page, "invite")


def locked(studio: Studio) -> None:
    """A profile with a passphrase, and another one typed."""
    studio.own_profile("alice")
    with studio.tab("/?profile=alice") as page:
        studio.shoot(page, "locked", page.get_by_label("Passphrase", exact=True))
        unlock(page, "not this one")
        studio.shoot(page, "wrong-passphrase", "That is not the profile's passphrase")


def taken(studio: Studio) -> None:
    """Somebody else is connected under the name."""
    studio.person("bob")
    with studio.tab("/?as=bob") as page:
        page.get_by_role("button", name="Connect").click()
        studio.shoot(page, "name-taken", "The name 'bob' is in use by somebody else, or belongs to a profile.")
    studio.dismiss()
