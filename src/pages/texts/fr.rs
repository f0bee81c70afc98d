//! French.

use super::Texts;

pub(super) const TEXTS: Texts = Texts {
    tag: "fr",
    heading: "Rejoindre la bêta",
    code: "Code d’invitation",
    address: "Adresse à laquelle l’invitation a été envoyée",
    password: "Mot de passe, au moins 10 caractères",
    join: "Rejoindre",
    welcome: "Bienvenue ! Vous pouvez maintenant vous connecter avec cette adresse :",
    need_code: "Il faut une invitation : ouvrez le lien de votre message ou saisissez son code.",
    link_heading: "Pas de code, ou un code expiré ?",
    link_words: "Saisissez votre adresse. Si elle est invitée, nous y envoyons un nouveau lien.",
    link_button: "M’envoyer un nouveau lien",
    link_asked: "Si cette adresse est invitée, un message avec un nouveau lien est en route. Les codes précédents ne sont plus valables.",
    invalid: "Ce code ne correspond pas à cette adresse. Utilisez l’adresse à laquelle l’invitation a été envoyée et vérifiez le code.",
    used: "Cette invitation a déjà été utilisée. Si c’était vous, connectez-vous.",
    revoked: "Cette invitation a été retirée. La personne qui vous a invité peut vous en dire plus.",
    expired: "Cette invitation a expiré. Demandez un nouveau lien ci-dessous.",
    frozen: "Les inscriptions sont suspendues pour le moment. Votre invitation reste valable : réessayez plus tard.",
    closed: "Les inscriptions pour votre groupe ne sont pas ouvertes actuellement.",
    full: "Toutes les places sont prises. Vous êtes sur la liste d’attente.",
    no_place: "Toutes les places sont prises pour le moment. Réessayez plus tard.",
    used_up: "Ce code a déjà servi au nombre de personnes prévu. La personne qui vous l’a donné en a peut-être un autre.",
    account_exists: "Un compte existe déjà pour cette adresse : connectez-vous et utilisez votre code depuis votre compte.",
    password_rule: "Choisissez un mot de passe de 10 à 256 caractères.",
    too_many: "Trop de tentatives. Attendez un peu et réessayez.",
    other: "Un problème est survenu de notre côté. Réessayez dans un instant.",
};
